"""A request's `response_format` and `structured_outputs`, as the one form that its answer must have."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping

from vllm_local.errors import InvalidRequestError
from vllm_local.structured_outputs_params import StructuredOutputsParams

_TYPES = ("text", "json_object", "json_schema", "structural_tag")


def read_answer_form(
    response_format: object = None, structured_outputs: StructuredOutputsParams | None = None
) -> StructuredOutputsParams | None:
    """Returns the form of a request's answer; None if anything goes.

    Args:
        response_format: OpenAI's field; see `read_response_format`.
        structured_outputs: vLLM's.

    Raises:
        InvalidRequestError: `response_format` is malformed, or both ask for something.
    """
    asked = read_response_format(response_format)
    if asked is not None and structured_outputs is not None:
        message = "response_format and structured_outputs both say what the answer must look like; give one of them."
        raise InvalidRequestError(message, parameter="structured_outputs")
    return asked or structured_outputs


def read_response_format(response_format: object) -> StructuredOutputsParams | None:
    """Returns the form that a `response_format` asks for; None for text.

    Args:
        response_format: `{"type": "text"}`, `{"type": "json_object"}` (with a "schema" beside the type, as llama.cpp
            and others have it, JSON of that schema), `{"type": "json_schema", "json_schema": {"name": …, "schema":
            …}}`, or vLLM's `{"type": "structural_tag", …}`. The schema is kept, whatever "strict" says.

    Raises:
        InvalidRequestError: It is none of these.
    """
    if response_format is None:
        return None
    if not isinstance(response_format, Mapping):
        raise _invalid("", f"must be a dict with a type, got {reprlib.repr(response_format)}")
    kind = response_format.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return _of_schema(response_format.get("schema"), ".schema")
    if kind == "json_schema":
        described = response_format.get("json_schema")
        if not isinstance(described, Mapping):
            raise _invalid(".json_schema", f"must be a dict with a name and a schema, got {reprlib.repr(described)}")
        # OpenAI lets it be left out, and then asks for any object.
        return _of_schema(described.get("schema"), ".json_schema.schema")
    if kind == "structural_tag":
        return StructuredOutputsParams(structural_tag={k: v for k, v in response_format.items() if k != "type"})
    raise _invalid(".type", f"is {reprlib.repr(kind)}; use one of {', '.join(_TYPES)}")


def _of_schema(schema: object, where: str) -> StructuredOutputsParams:
    if schema is None:
        return StructuredOutputsParams(json_object=True)
    if not isinstance(schema, Mapping):
        raise _invalid(where, f"must be a JSON schema, got {reprlib.repr(schema)}")
    return StructuredOutputsParams(json=schema)


def _invalid(where: str, rule: str) -> InvalidRequestError:
    return InvalidRequestError(f"response_format{where} {rule}.", parameter="response_format")
