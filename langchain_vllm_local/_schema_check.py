"""Checks JSON values against JSON schemas, as far as they are made of the common keywords.

Servers of others may answer anything. What our own engine writes obeys its schema already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: (isinstance(value, int) and not isinstance(value, bool)) or _is_whole(value),
}
_BOUNDS: Mapping[str, tuple[Callable[[Any], bool], Callable[[Any, Any], bool], str]] = {
    "minimum": (_TYPES["number"], lambda value, bound: value >= bound, "must be at least"),
    "maximum": (_TYPES["number"], lambda value, bound: value <= bound, "must be at most"),
    "exclusiveMinimum": (_TYPES["number"], lambda value, bound: value > bound, "must be above"),
    "exclusiveMaximum": (_TYPES["number"], lambda value, bound: value < bound, "must be below"),
    "minLength": (_TYPES["string"], lambda value, bound: len(value) >= bound, "must have a length of at least"),
    "maxLength": (_TYPES["string"], lambda value, bound: len(value) <= bound, "must have a length of at most"),
    "minItems": (_TYPES["array"], lambda value, bound: len(value) >= bound, "must have as many items as"),
    "maxItems": (_TYPES["array"], lambda value, bound: len(value) <= bound, "must have no more items than"),
}
"""Keyword: the values that it is about, whether it holds, and what to say if not."""


class SchemaMismatchError(ValueError):
    """A value that is not what its schema says."""


def check_instance(value: Any, schema: Mapping[str, Any]) -> None:
    """Checks a value.

    Args:
        value: As the `json` module reads it.
        schema: A JSON schema; keywords that are not known here count as kept.

    Raises:
        SchemaMismatchError: It does not fit; the message has the JSON path of the first place where it does not.
    """
    problem = next(_problems(value, schema, schema, "$"), None)
    if problem is not None:
        raise SchemaMismatchError(problem)


def _problems(value: Any, schema: Any, root: Mapping[str, Any], path: str) -> Iterator[str]:
    if schema is False:
        yield f"{path} must not be there"
    if not isinstance(schema, Mapping):
        return
    if isinstance(reference := schema.get("$ref"), str):
        yield from _problems(value, _resolved(reference, root), root, path)
    yield from _value_problems(value, schema, path)
    yield from _choice_problems(value, schema, root, path)
    if isinstance(value, dict):
        yield from _object_problems(value, schema, root, path)
    if isinstance(value, list):
        yield from _array_problems(value, schema, root, path)


def _value_problems(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    kinds = schema.get("type")
    names = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(names, Sequence) and not any(_TYPES.get(name, _anything)(value) for name in names):
        yield f"{path} must be of type {' or '.join(names)}, got {_shown(value)}"
    if "enum" in schema and not any(_equal(value, item) for item in schema["enum"]):
        yield f"{path} must be one of {_shown(schema['enum'])}, got {_shown(value)}"
    if "const" in schema and not _equal(value, schema["const"]):
        yield f"{path} must be {_shown(schema['const'])}, got {_shown(value)}"
    for keyword, (is_about, holds, rule) in _BOUNDS.items():
        bound = schema.get(keyword)
        if _TYPES["number"](bound) and is_about(value) and not holds(value, bound):
            yield f"{path} {rule} {bound}, got {_shown(value)}"
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and isinstance(value, str) and not _matches(pattern, value):
        yield f"{path} must match {pattern!r}, got {_shown(value)}"


def _choice_problems(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: str) -> Iterator[str]:
    for inner in schema.get("allOf") or ():
        yield from _problems(value, inner, root, path)
    for keyword in ("anyOf", "oneOf"):
        options = schema.get(keyword)
        if options and not any(next(_problems(value, option, root, path), None) is None for option in options):
            yield f"{path} fits none of the {keyword} options, got {_shown(value)}"


def _object_problems(
    value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], path: str
) -> Iterator[str]:
    properties = schema.get("properties") or {}
    for name in schema.get("required") or ():
        if name not in value:
            yield f"{path} lacks the required property {name!r}"
    others = schema.get("additionalProperties")
    patterns = schema.get("patternProperties") or {}
    for name, item in value.items():
        if name in properties:
            yield from _problems(item, properties[name], root, f"{path}.{name}")
        elif not any(_matches(pattern, name) for pattern in patterns):
            yield from _problems(item, others, root, f"{path}.{name}")


def _array_problems(
    value: Sequence[Any], schema: Mapping[str, Any], root: Mapping[str, Any], path: str
) -> Iterator[str]:
    first = schema.get("prefixItems") or ()
    for index, item in enumerate(value):
        inner = first[index] if index < len(first) else schema.get("items")
        yield from _problems(item, inner, root, f"{path}[{index}]")


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    """Returns the schema that a reference within the root names; True, which anything fits, for others."""
    found: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    return True if found is None or not reference.startswith("#") else found


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _anything(value: Any) -> bool:  # noqa: ARG001 - a type that is not known here
    return True


def _equal(value: Any, other: Any) -> bool:
    """Compares as JSON does, where True is not 1."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:  # ECMA's dialect has more than Python's
        return True


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 100 else f"{shown[:100]}…"
