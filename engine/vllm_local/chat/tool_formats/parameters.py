"""Arguments that a format writes one by one, texts without quotes: what each may look like, and which value it is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, NoReturn

from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter
from vllm_local.chat.tools import Tool
from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Chain, Constraint, FreeText, Json, OneOf, Text

_ALL_KINDS = frozenset({"string", "number", "integer", "boolean", "null", "array", "object"})
_TEXT_BOUNDS = (
    *("enum", "const", "pattern", "minLength", "maxLength", "format"),
    *("not", "allOf", "anyOf", "oneOf", "$ref", "if"),
)
_OBJECT_KEYS = frozenset({"type", "properties", "required", "additionalProperties", "$defs", "definitions"})
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "$schema", "$id", "$comment", "strict", "deprecated", "readOnly"}
)
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_MAX_REFERENCES = 32


@dataclass(frozen=True)
class Parameter:
    """One of a tool's arguments.

    Attributes:
        name: Its key.
        schema: Its own, with the definitions of the tool's.
        is_required: Whether a call must have it.
    """

    name: str
    schema: bool | Mapping[str, Any]
    is_required: bool

    @property
    def choices(self) -> Sequence[Any] | None:
        """The values that it may have, where they are listed."""
        if isinstance(self.schema, bool):
            return None
        if "const" in self.schema:
            return [self.schema["const"]]
        listed = self.schema.get("enum")
        return listed if isinstance(listed, list) else None

    @property
    def is_text(self) -> bool:
        """Whether it is any text, which then stands there without quotes."""
        return _is_plain_text(self.schema)

    @property
    def kinds(self) -> frozenset[str]:
        """JSON types that it may have."""
        if self.choices is not None:
            return frozenset(kind for value in self.choices for kind in _kinds_of_value(value))
        return _kinds(self.schema, self.schema, _MAX_REFERENCES)


def parameters_of(tool: Tool) -> Iterator[Parameter]:
    """Yields a tool's arguments in its schema's order."""
    required = tool.parameters.get("required", ())
    shared = {key: tool.parameters[key] for key in ("$defs", "definitions") if key in tool.parameters}
    for name, schema in tool.parameters.get("properties", {}).items():
        own = {**schema, **shared} if isinstance(schema, Mapping) else schema
        yield Parameter(name, own, name in required)


def parameter_of(tool: Tool | None, name: str) -> Parameter:
    """Returns one of a tool's arguments; any value goes for one that it does not have."""
    found = () if tool is None else parameters_of(tool)
    return next((parameter for parameter in found if parameter.name == name), Parameter(name, True, is_required=False))


def check_parameters(tool: Tool, format_name: str, forbidden: str) -> None:
    """Makes sure that arguments written one by one can obey a tool's schema.

    Args:
        tool: The tool.
        format_name: Of the format, for the message.
        forbidden: Characters that no argument's name may hold.

    Raises:
        InvalidRequestError: They cannot, or the schema is malformed.
    """

    def refuse(path: str, problem: str) -> NoReturn:
        where = f"The tool {tool.name!r} cannot be called in this model's format {format_name!r}: $.{path}"
        raise InvalidRequestError(f"{where} {problem}.", parameter="tools")

    for key in tool.parameters:
        if key not in _OBJECT_KEYS | _ANNOTATIONS and not key.startswith("x-"):
            refuse(key, "is about several arguments at once, which are written one by one; leave it out")
    properties = tool.parameters.get("properties", {})
    for name in properties:
        if not name or any(character in name for character in forbidden):
            refuse(f"properties.{name}", f"has a name that is empty or holds one of {forbidden!r}")
    required = tool.parameters.get("required", [])
    if not isinstance(required, (list, tuple)):
        refuse("required", "must be a list of names")
    for name in required:
        if name not in properties:
            refuse("required", f"names {name!r}, which is not among the properties")


def bare_value(parameter: Parameter, closer: str, before_closer: str = "") -> Constraint:
    """Returns the constraint of a value and its closing tag, texts without quotes.

    A text with bounds is written as JSON, which the bounds can then be kept of.

    Args:
        parameter: Whose value.
        closer: What ends it.
        before_closer: What may stand before that, and does where the value is not any text.
    """
    end = Text(before_closer + closer)
    if parameter.is_text or _is_plain_text_or_null(parameter.schema):
        return Chain((FreeText((closer,)), Text(closer)))
    choices = parameter.choices or ()
    if choices and not any(isinstance(value, str) and closer in value for value in choices):
        return Chain((OneOf(tuple(Text(_bare(value)) for value in choices)), end))
    return Chain((Json(parameter.schema), end))


def stream_parameter(
    source: TextSource, calls: CallWriter, parameter: Parameter, stops: Sequence[str], *, is_text: bool | None = None
) -> Reading[bool]:
    """Yields the JSON of a bare value up to a stop, which stays unread.

    A text goes on as it comes; of anything else the kind shows only at its end.

    Args:
        source: Stands at the value.
        calls: Has begun the call.
        parameter: Whose value.
        stops: What may end it.
        is_text: Whether it is a text, where the call says so itself.

    Returns:
        Whether a stop came.
    """
    if parameter.is_text if is_text is None else is_text:
        yield calls.arguments('"')
        stop = yield from source.stream_until(stops, lambda piece: calls.arguments(_escaped(piece)))
        if stop:
            yield calls.arguments('"')
        return bool(stop)
    value = yield from source.read_until(*stops, limit=_NO_LIMIT)
    if value is None:
        yield calls.arguments(source.take(len(source.unread)))
        return False
    yield calls.arguments(json_of(value, parameter))
    return True


def close_arguments(source: TextSource, calls: CallWriter, *, is_empty: bool, tags: Sequence[str]) -> Reading[None]:
    """Yields the end of the arguments, unless the call is cut off.

    Args:
        source: Stands behind the last argument.
        calls: Has begun the call.
        is_empty: Whether there has been no argument.
        tags: What may come next; the end of the text within one is no end of the call.
    """
    for tag in tags:
        if (yield from source.follows(tag)):
            break
    else:
        if any(tag.startswith(source.unread) for tag in tags):
            return
    yield calls.arguments("{}" if is_empty else "}")


def quoted(text: str) -> str:
    """Returns a text's JSON."""
    return json.dumps(text, ensure_ascii=False)


def json_of(text: str, parameter: Parameter) -> str:
    """Returns the JSON of a bare value: what its schema says that it is, a text if nothing else fits."""
    stripped = text.strip()
    kinds = parameter.kinds
    if text not in (parameter.choices or ()):
        if stripped in _WORDS and kinds & _kinds_of_value(_WORDS[stripped]):
            return json.dumps(_WORDS[stripped])
        # As it is written, so that a number keeps its digits.
        if is_json(stripped, kinds):
            return stripped
    return json.dumps(text, ensure_ascii=False)


def is_json(text: str, kinds: AbstractSet[str]) -> bool:
    """Whether a text is JSON of one of some types."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return bool(kinds & _kinds_of_value(value))


_NO_LIMIT = 1 << 40


def _is_plain_text(schema: object) -> bool:
    """Whether a schema is that of any text."""
    if not isinstance(schema, Mapping) or schema.get("type") != "string":
        return False
    return not any(key in schema for key in _TEXT_BOUNDS)


def _is_plain_text_or_null(schema: object) -> bool:
    if not isinstance(schema, Mapping):
        return False
    if schema.get("type") in (["string", "null"], ["null", "string"]):
        return not any(key in schema for key in _TEXT_BOUNDS)
    options = schema.get("anyOf")
    if not isinstance(options, list) or not set(schema) <= _ANNOTATIONS | {"anyOf", "$defs", "definitions"}:
        return False
    return all(_is_plain_text(option) or option == {"type": "null"} for option in options)


def _bare(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _escaped(piece: str) -> str:
    return json.dumps(piece, ensure_ascii=False)[1:-1]


def _no_constant(text: str) -> NoReturn:
    raise ValueError(text)


def _kinds_of_value(value: Any) -> frozenset[str]:
    if isinstance(value, bool):
        return frozenset({"boolean"})
    if isinstance(value, float):
        # An overflow is no number of JSON's.
        kinds = {"number", "integer"} if value.is_integer() else {"number"}
        return frozenset(kinds if math.isfinite(value) else ())
    if isinstance(value, int):
        return frozenset({"number", "integer"})
    if value is None:
        return frozenset({"null"})
    return frozenset({"string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"})


def _kinds(schema: object, root: object, depth: int) -> frozenset[str]:
    """Returns the types that a schema allows, and maybe some more."""
    if not isinstance(schema, Mapping) or depth == 0:
        return _ALL_KINDS
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(listed, list):
        return frozenset(kind for value in listed for kind in _kinds_of_value(value))
    allowed = _ALL_KINDS
    if "type" in schema:
        types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        allowed &= frozenset(types)
    if "$ref" in schema:
        allowed &= _kinds(_resolve(schema["$ref"], root), root, depth - 1)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            allowed &= frozenset().union(*(_kinds(option, root, depth - 1) for option in schema[key]))
    for part in schema.get("allOf", ()):
        allowed &= _kinds(part, root, depth - 1)
    return allowed


def _resolve(reference: object, root: object) -> object:
    """Returns what a reference within the schema names; True, which is any value, if it names nothing."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return True
    found = root
    for step in reference.removeprefix("#").split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or key not in found:
            return True
        found = found[key]
    return found
