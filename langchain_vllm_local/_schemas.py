"""What a caller gives as the form of an answer: classes and JSON schemas of every kind that LangChain takes."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic
import pydantic.v1
from langchain_core.utils.function_calling import convert_to_openai_function

from langchain_vllm_local._schema_check import check_instance
from vllm_local.errors import InvalidRequestError

DEFAULT_NAME = "answer"
"""Of a schema that has none."""

_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
_NAME_LENGTH = 64
_SUBSCHEMAS = ("$defs", "definitions", "properties", "patternProperties")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


@dataclass(frozen=True)
class AnswerSchema:
    """The form of an answer.

    Attributes:
        name: Made of letters, digits, `_` and `-`, as OpenAI wants it.
        description: What it is; may be empty.
        json_schema: A JSON schema.
        output_type: What `read` returns.
        read: Checks a parsed answer, and makes the caller's type of it. Its errors are ValueErrors.
        is_strict: What the caller says of OpenAI's "strict"; None is nothing.
    """

    name: str
    description: str
    json_schema: Mapping[str, Any]
    output_type: Any
    read: Callable[[Any], Any]
    is_strict: bool | None = None

    @property
    def is_class(self) -> bool:
        """Whether an answer is an instance of a class, which there is none of before the answer is complete."""
        return self.output_type is not dict

    def response_format(self) -> dict[str, Any]:
        """Returns OpenAI's `response_format` that asks for it."""
        return {"type": "json_schema", "json_schema": self._described("schema")}

    def tool(self) -> dict[str, Any]:
        """Returns a tool that takes it as its arguments, in OpenAI's shape."""
        return {"type": "function", "function": self._described("parameters")}

    def _described(self, key: str) -> dict[str, Any]:
        description = {"description": self.description} if self.description else {}
        strict = {} if self.is_strict is None else {"strict": self.is_strict}
        return {"name": self.name, **description, key: dict(self.json_schema), **strict}


def answer_schema(schema: Any, *, strict: bool | None = None) -> AnswerSchema:
    """Reads what a caller gives as a schema.

    Args:
        schema: A class of Pydantic (2 or 1), a TypedDict, a dataclass, a JSON schema, OpenAI's `response_format`,
            function or tool, Anthropic's tool, or None for any JSON object.
        strict: OpenAI's word; True also closes all objects and requires all properties, as OpenAI asks for.

    Raises:
        InvalidRequestError: It is none of these.
    """
    try:
        found = _read(schema)
    except (TypeError, ValueError, pydantic.errors.PydanticUserError) as error:
        message = f"{schema!r} cannot be read as a schema: {error}"
        raise InvalidRequestError(message[:500], parameter="schema") from error
    if strict is None:
        strict = found.is_strict
    json_schema = closed_schema(found.json_schema) if strict else found.json_schema
    return dataclasses.replace(found, json_schema=json_schema, is_strict=strict)


def response_format_of(given: Any, *, strict: bool | None = None) -> dict[str, Any]:
    """Returns OpenAI's `response_format` for whatever a caller gives as one.

    Args:
        given: OpenAI's dict, which is kept, or a schema of any kind.
        strict: As for `answer_schema`.

    Raises:
        InvalidRequestError: It is neither.
    """
    if isinstance(given, Mapping) and given.get("type") in ("text", "json_object", "json_schema", "structural_tag"):
        return dict(given)
    return answer_schema(given, strict=strict).response_format()


def closed_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a schema whose objects have all of their named properties, and no others; OpenAI's "strict"."""
    closed = copy.deepcopy(dict(schema))
    _close(closed)
    return closed


def _close(schema: Any) -> None:
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("properties"), dict):
        schema |= {"additionalProperties": False, "required": list(schema["properties"])}
    for key in _SUBSCHEMAS:
        for inner in (schema.get(key) or {}).values():
            _close(inner)
    for key in _SCHEMA_LISTS:
        for inner in schema.get(key) or ():
            _close(inner)
    for key in ("items", "not", "if", "then", "else"):
        _close(schema.get(key))


def _read(schema: Any) -> AnswerSchema:
    if schema is None:
        return _of_json_schema(_ANY_OBJECT)
    if isinstance(schema, Mapping):
        return _of_dict(schema)
    if isinstance(schema, type) and issubclass(schema, pydantic.BaseModel):
        return _of_class(schema, schema.model_json_schema(), schema.model_validate)
    if isinstance(schema, type) and issubclass(schema, pydantic.v1.BaseModel):
        return _of_class(schema, schema.schema(), schema.parse_obj)
    if isinstance(schema, type) and dataclasses.is_dataclass(schema):
        adapter: Any = pydantic.TypeAdapter(schema)
        return _of_class(schema, adapter.json_schema(), adapter.validate_python)
    # TypedDicts, tools and functions: LangChain knows where they keep their descriptions.
    return _of_function(convert_to_openai_function(schema))


def _of_class(schema: type, json_schema: dict[str, Any], read: Callable[[Any], Any]) -> AnswerSchema:
    described = _of_json_schema(json_schema)
    return dataclasses.replace(described, output_type=schema, read=read)


def _of_dict(schema: Mapping[str, Any]) -> AnswerSchema:
    kind = schema.get("type")
    if kind == "json_schema" and isinstance(schema.get("json_schema"), Mapping):
        return _of_function(schema["json_schema"])
    if kind == "function" and isinstance(schema.get("function"), Mapping):
        return _of_function(schema["function"])
    if isinstance(schema.get("name"), str) and any(key in schema for key in ("parameters", "schema", "input_schema")):
        return _of_function(schema)
    return _of_json_schema(schema)


def _of_function(function: Mapping[str, Any]) -> AnswerSchema:
    keys = ("parameters", "schema", "input_schema")
    parameters = next((function[key] for key in keys if isinstance(function.get(key), Mapping)), _ANY_OBJECT)
    found = _of_json_schema(parameters)
    strict = function.get("strict")
    return dataclasses.replace(
        found,
        name=_as_name(function.get("name") or found.name),
        description=function.get("description") or found.description,
        is_strict=strict if isinstance(strict, bool) else None,
    )


def _of_json_schema(schema: Mapping[str, Any]) -> AnswerSchema:
    title, description = schema.get("title"), schema.get("description")

    def read(value: Any) -> Any:
        check_instance(value, schema)
        return value

    return AnswerSchema(
        name=_as_name(title) if isinstance(title, str) else DEFAULT_NAME,
        description=description if isinstance(description, str) else "",
        json_schema=schema,
        output_type=dict,
        read=read,
    )


def _as_name(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]+", "_", text)[:_NAME_LENGTH].strip("_") or DEFAULT_NAME
