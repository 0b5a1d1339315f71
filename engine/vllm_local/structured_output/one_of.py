"""`oneOf`: which schemas can never hold for the same value, so that "exactly one" is "any"."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vllm_local.structured_output.schema_refs import SchemaRefs

_TYPES = frozenset({"null", "boolean", "number", "string", "array", "object"})
_MAX_DEPTH = 6


def are_disjoint(left: Any, right: Any, refs: SchemaRefs, depth: int = 0) -> bool:
    """Says whether no value fits both schemas; False also where this is not seen."""
    if left is False or right is False:
        return True
    left, right = refs.follow(left), refs.follow(right)
    if depth > _MAX_DEPTH or not isinstance(left, Mapping) or not isinstance(right, Mapping):
        return left is False or right is False
    return (
        _alternatives_are_disjoint(left, right, refs, depth)
        or _alternatives_are_disjoint(right, left, refs, depth)
        or not (types_of(left) & types_of(right))
        or _values_are_disjoint(left, right)
        or _ranges_are_disjoint(left, right)
        or _objects_are_disjoint(left, right, refs, depth)
    )


def types_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """Returns the kinds of JSON value that a schema's own `type`, `const` and `enum` leave; integers are numbers."""
    types = _TYPES
    named = schema.get("type")
    if isinstance(named, (str, list)):
        listed = {named} if isinstance(named, str) else {item for item in named if isinstance(item, str)}
        types &= {"number" if item == "integer" else item for item in listed}
    values = values_of(schema)
    return types if values is None else types & {_type_of(json.loads(value)) for value in values}


def values_of(schema: Mapping[str, Any]) -> frozenset[str] | None:
    """Returns the values that `const` and `enum` leave, as JSON, or None if they leave all."""
    if "const" in schema:
        return frozenset({_canonical(schema["const"])})
    if isinstance(schema.get("enum"), list):
        return frozenset(_canonical(value) for value in schema["enum"])
    return None


def tag_of(options: list[Any], refs: SchemaRefs) -> str | None:
    """Returns a property that tells objects apart wherever it is given, as the tag of a Pydantic union does."""
    nodes = [refs.follow(option) for option in options]
    tables = [node.get("properties") if isinstance(node, Mapping) else None for node in nodes]
    properties = [table for table in tables if isinstance(table, Mapping)]
    if len(properties) < len(options) or not properties:
        return None
    for name in properties[0]:
        tags = [refs.follow(table.get(name)) for table in properties]
        values = [values_of(tag) if isinstance(tag, Mapping) else None for tag in tags]
        known = [item for item in values if item is not None]
        if len(known) == len(options) and len(frozenset().union(*known)) == sum(map(len, known)):
            return str(name)
    return None


def names_apart(options: list[Any], refs: SchemaRefs) -> list[set[str]] | None:
    """Returns which properties each of some objects must do without, so that it lacks one that each other requires.

    None where an option requires nothing that another does not require as well.
    """
    nodes = [refs.follow(option) for option in options]
    required = [_required(node) for node in nodes]
    absent: list[set[str]] = [set() for _ in nodes]
    for i, own in enumerate(nodes):
        for j, other in enumerate(nodes):
            if i == j or are_disjoint(own, other, refs):
                continue
            names = required[j] - required[i]
            if not names:
                return None
            if not absent[i] & names:
                absent[i].add(min(names))
    return absent


def _required(node: Any) -> set[str]:
    names = node.get("required") if isinstance(node, Mapping) else None
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _alternatives_are_disjoint(left: Mapping[str, Any], right: Any, refs: SchemaRefs, depth: int) -> bool:
    if "$ref" in left and are_disjoint(refs.resolve(left["$ref"], "$")[1], right, refs, depth + 1):
        return True
    for keyword in ("anyOf", "oneOf"):
        options = left.get(keyword)
        if isinstance(options, list) and all(are_disjoint(option, right, refs, depth + 1) for option in options):
            return True
    parts = left.get("allOf")
    return isinstance(parts, list) and any(are_disjoint(part, right, refs, depth + 1) for part in parts)


def _values_are_disjoint(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    ours, theirs = values_of(left), values_of(right)
    return ours is not None and theirs is not None and not ours & theirs


def _ranges_are_disjoint(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    if types_of(left) != {"number"} or types_of(right) != {"number"}:
        return False
    return _ends_before(left, right) or _ends_before(right, left)


def _ends_before(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    highs = [left[name] for name in ("maximum", "exclusiveMaximum") if _is_number(left.get(name))]
    lows = [right[name] for name in ("minimum", "exclusiveMinimum") if _is_number(right.get(name))]
    if not highs or not lows or min(highs) > max(lows):
        return False
    exclusive = left.get("exclusiveMaximum") == min(highs) or right.get("exclusiveMinimum") == max(lows)
    return bool(min(highs) < max(lows) or exclusive)


def _objects_are_disjoint(left: Mapping[str, Any], right: Mapping[str, Any], refs: SchemaRefs, depth: int) -> bool:
    if types_of(left) != {"object"} or types_of(right) != {"object"}:
        return False
    return _tells_apart(left, right, refs, depth) or _tells_apart(right, left, refs, depth)


def _tells_apart(left: Mapping[str, Any], right: Mapping[str, Any], refs: SchemaRefs, depth: int) -> bool:
    """Whether a property that `left` requires cannot be what `right` wants of it, or is none of `right`'s."""
    ours, theirs = left.get("properties", {}), right.get("properties", {})
    required = left.get("required", [])
    if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping) or not isinstance(required, list):
        return False
    is_closed = right.get("additionalProperties") is False and "patternProperties" not in right
    for name in required:
        if not isinstance(name, str):
            continue
        if name not in theirs and is_closed:
            return True
        if name in ours and name in theirs and are_disjoint(ours[name], theirs[name], refs, depth + 1):
            return True
    return False


def _canonical(value: object) -> str:
    """Writes equal values equally; 1 and 1.0 are equal in JSON schema."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names: dict[type, str] = {int: "number", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
