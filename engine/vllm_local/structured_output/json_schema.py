"""A user's JSON schema → the schema that llguidance compiles.

What this does, and llguidance does not:

- names the path of a keyword that cannot be enforced, and refuses it;
- closes objects: one with named properties that says nothing about others gets none;
- makes `oneOf` into `anyOf` where no value can fit two of its options, through references as well;
- points references at definitions with names of our own.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from vllm_local.errors import InvalidRequestError
from vllm_local.structured_output.one_of import are_disjoint, names_apart, tag_of
from vllm_local.structured_output.regex_size import check_regex_size
from vllm_local.structured_output.schema_keywords import (
    ASSERTIONS,
    FORMATS,
    HARMLESS,
    IN_PLACE,
    NEEDS,
    REFUSED,
    SUBSCHEMA_LISTS,
    SUBSCHEMA_MAPS,
    SUBSCHEMAS,
)
from vllm_local.structured_output.schema_patterns import as_rust
from vllm_local.structured_output.schema_refs import SchemaRefs
from vllm_local.structured_output.schema_rewrites import is_understood, is_writable, say_otherwise

MAX_SCHEMAS = 20_000
"""Schemas inside a schema, references that are followed twice counted twice."""
MAX_PROPERTIES = 5_000
"""Of one object; the time to compile those that may be left out grows with the square of their number."""
MAX_ENUM_VALUES = 10_000
"""Of one `enum`."""
MAX_ITEMS = 10_000
"""Largest `minItems` and `maxItems`; each item is a piece of grammar."""
MAX_LENGTH = 1_000_000
"""Largest `minLength` and `maxLength`."""
_LIMITS = {"minItems": MAX_ITEMS, "maxItems": MAX_ITEMS, "minLength": MAX_LENGTH, "maxLength": MAX_LENGTH}
_SIZES = {"properties": MAX_PROPERTIES, "enum": MAX_ENUM_VALUES}
_EXCLUSIVE_BOUNDS = (
    ("exclusiveMinimum", ("maximum", "exclusiveMaximum"), "minimum", 1),
    ("exclusiveMaximum", ("minimum", "exclusiveMinimum"), "maximum", -1),
)
_CHOICES = frozenset({"anyOf", "oneOf", "patternProperties", "additionalProperties"})
"""Keywords that make it a matter of the value which of its properties are described."""
_COUNTS = frozenset({*_LIMITS, "minProperties", "maxProperties"})
_TYPES = ("null", "boolean", "number", "integer", "string", "array", "object")


def prepare_schema(schema: Mapping[str, Any] | bool, *, closed: bool = True, parameter: str) -> dict[str, Any]:
    """Returns a schema that llguidance understands and that allows nothing that the given one forbids.

    Args:
        schema: A JSON schema of any draft from 4 on.
        closed: Objects with named properties hold no others, unless the schema says something about those.
        parameter: Whose fault an error is.

    Raises:
        InvalidRequestError: A keyword is not supported, or is malformed; the message names its path.
    """
    if isinstance(schema, bool):
        schema = {} if schema else {"not": {}}
    return _Preparation(schema, closed, parameter).run()


class _Preparation:
    """One pass over a schema.

    A schema has one of two roles: it describes a whole value, or a part of it, which its neighbours (in `allOf`, beside
    `$ref`) describe too. Only whole objects may be closed.
    """

    def __init__(self, root: Mapping[str, Any], closed: bool, parameter: str) -> None:
        self._root = root
        self._closed = closed
        self._parameter = parameter
        self._refs = SchemaRefs(root, parameter)
        self._names: dict[tuple[str, bool], str] = {}
        self._pending: list[tuple[str, str, Any, bool]] = []
        self._count = 0

    def run(self) -> dict[str, Any]:
        prepared = self._node(self._root, "$", True)
        definitions: dict[str, Any] = {}
        while self._pending:
            name, path, target, is_whole = self._pending.pop()
            definitions[name] = self._node(target, path, is_whole)
        if prepared is False:
            raise self._error("$", "allows no value")
        result = dict(prepared) if isinstance(prepared, Mapping) else {}
        return {**result, "$defs": definitions} if definitions else result

    def _node(self, node: Any, path: str, is_whole: bool) -> Any:
        self._count += 1
        if self._count > MAX_SCHEMAS:
            raise self._error(path, f"is one of more than {MAX_SCHEMAS} schemas; say less, or in fewer words")
        if isinstance(node, bool):
            return node
        if not isinstance(node, Mapping):
            raise self._error(path, f"must be a schema, got {reprlib.repr(node)}")
        for keyword, value in node.items():
            self._check(keyword, value, f"{path}.{keyword}", node)
        if node.get("not") == {} or node.get("not") is True or node.get("enum") == []:
            return False
        parts_are_whole = is_whole and _is_pass_through(node)
        prepared = {
            keyword: self._value(keyword, value, f"{path}.{keyword}", parts_are_whole)
            for keyword, value in node.items()
            if self._is_kept(keyword, value)
        }
        _keep_exclusive_bounds(prepared)
        say_otherwise(node, prepared)
        self._add_one_of(node, prepared, path, parts_are_whole)
        if self._closed and is_whole and not parts_are_whole:
            self._close(node, prepared)
        if node.get("unevaluatedProperties") is False:
            prepared["allOf"] = [*prepared.get("allOf", []), _closing(self._names_in_all_parts(node) or {})]
        return prepared

    def _is_kept(self, keyword: str, value: Any) -> bool:
        if keyword == "format":
            return value in FORMATS
        known = keyword in ASSERTIONS or keyword in {*SUBSCHEMAS, *SUBSCHEMA_LISTS, *SUBSCHEMA_MAPS, "$ref"}
        return known and keyword != "oneOf"

    def _value(self, keyword: str, value: Any, path: str, parts_are_whole: bool) -> Any:
        if keyword == "$ref":
            return f"#/$defs/{self._definition(value, path.removesuffix('.$ref'), parts_are_whole)}"
        is_whole = parts_are_whole if keyword in IN_PLACE else True
        if keyword in SUBSCHEMA_LISTS or (keyword == "items" and isinstance(value, list)):
            return [self._node(item, f"{path}[{i}]", is_whole) for i, item in enumerate(self._list(value, path))]
        if keyword in SUBSCHEMAS:
            return self._node(value, path, is_whole)
        if keyword in SUBSCHEMA_MAPS:
            named = {name: self._node(item, f"{path}.{name}", is_whole) for name, item in value.items()}
            return named if keyword == "properties" else {as_rust(name): item for name, item in named.items()}
        return _plain_value(keyword, value)

    def _definition(self, reference: Any, path: str, is_whole: bool) -> str:
        where, target = self._refs.resolve(reference, path)
        name = self._names.get((where, is_whole))
        if name is None:
            name = self._names[where, is_whole] = f"d{len(self._names)}"
            self._pending.append((name, where, target, is_whole))
        return name

    def _add_one_of(self, node: Mapping[str, Any], prepared: dict[str, Any], path: str, parts_are_whole: bool) -> None:
        """Writes `oneOf` as `anyOf`, with the tag that tells its options apart required where that is what it takes."""
        if "oneOf" not in node:
            return
        path = f"{path}.oneOf"
        options = self._list(node["oneOf"], path)
        if not self._are_disjoint(options):
            options = [
                {"allOf": [option, only]} for option, only in zip(options, self._apart(options, path), strict=True)
            ]
        written = [self._node(option, f"{path}[{i}]", parts_are_whole) for i, option in enumerate(options)]
        if "anyOf" in prepared:
            prepared["allOf"] = [*prepared.get("allOf", []), {"anyOf": written}]
        else:
            prepared["anyOf"] = written

    def _apart(self, options: list[Any], path: str) -> list[dict[str, Any]]:
        """Returns what each option of a `oneOf` may be besides, so that no value fits two of them."""
        tag = tag_of(options, self._refs)
        if tag is not None:
            return [{"type": "object", "required": [tag]} for _ in options]
        names = names_apart(options, self._refs)
        if names is None:
            rule = "has options that one value may fit together, which cannot be ruled out here; use `anyOf`"
            raise self._error(path, f"{rule}, or give each a property with a `const` of its own")
        return [{"type": "object", "properties": dict.fromkeys(sorted(absent), False)} for absent in names]

    def _are_disjoint(self, options: list[Any]) -> bool:
        pairs = ((left, right) for i, left in enumerate(options) for right in options[:i])
        return all(are_disjoint(left, right, self._refs) for left, right in pairs)

    def _close(self, node: Mapping[str, Any], prepared: dict[str, Any]) -> None:
        """Leaves an object no properties but those that it, or one of its parts, names."""
        names: dict[str, None] = {}
        if not self._collect_names(node, names):
            return
        others = [name for name in names if name not in prepared.get("properties", {})]
        if not any(keyword in prepared for keyword in IN_PLACE):
            prepared.setdefault("type", "object")
            prepared["properties"] = {**prepared.get("properties", {}), **dict.fromkeys(others, True)}
            prepared["additionalProperties"] = False
            return
        # Last, so that properties keep the order in which the parts name them.
        parts = prepared.pop("allOf", [])
        prepared["allOf"] = [*parts, _closing(names)]

    def _collect_names(self, node: Any, names: dict[str, None]) -> bool:
        """Adds the properties that a schema names; False where it says something about those that it does not name."""
        named = False
        for item in self._parts(node, ("allOf", "anyOf", "oneOf")):
            if "additionalProperties" in item or "patternProperties" in item:
                return False
            named = named or "properties" in item
            for keyword in ("properties", "required"):
                names.update(dict.fromkeys(name for name in _items(item.get(keyword)) if isinstance(name, str)))
        return named

    def _parts(self, node: Any, keywords: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
        """Yields a schema, what these keywords and references of it hold, and so on, each once."""
        pending, seen = [node], set()
        while pending:
            item = pending.pop()
            if not isinstance(item, Mapping) or id(item) in seen:
                continue
            seen.add(id(item))
            self._refs.count_step()
            yield item
            for keyword in keywords:
                pending.extend(_items(item.get(keyword)))
            if "$ref" in item:
                pending.append(self._refs.resolve(item["$ref"], "$")[1])

    def _closes_all(self, keyword: str, value: Any, node: Mapping[str, Any]) -> bool:
        return keyword == "unevaluatedProperties" and value is False and self._names_in_all_parts(node) is not None

    def _names_in_all_parts(self, node: Mapping[str, Any]) -> dict[str, None] | None:
        """Returns the properties that a schema and all of its parts name; None where parts are a matter of choice."""
        names: dict[str, None] = {}
        for item in self._parts(node, ("allOf",)):
            if not _CHOICES.isdisjoint(item):
                return None
            names.update(dict.fromkeys(_items(item.get("properties"))))
        return names

    def _check(self, keyword: str, value: Any, path: str, node: Mapping[str, Any]) -> None:
        if keyword in REFUSED and not (_is_harmless(keyword, value, node) or self._closes_all(keyword, value, node)):
            raise self._error(path, f"is not supported: {REFUSED[keyword]}")
        if keyword in SUBSCHEMA_MAPS and not isinstance(value, Mapping):
            raise self._error(path, f"must be an object of schemas, got {reprlib.repr(value)}")
        if keyword in _SIZES and len(_items(value)) > _SIZES[keyword]:
            raise self._error(path, f"takes up to {_SIZES[keyword]}, got {len(value)}")
        constants = self._list(value, path) if keyword == "enum" else [value] if keyword == "const" else []
        if constants and not any(map(is_writable, constants)):
            raise self._error(path, "holds a control character, which answers do not; leave it out")
        if keyword == "required" and any(not isinstance(name, str) for name in self._list(value, path)):
            raise self._error(path, f"must be a list of names, got {reprlib.repr(value)}")
        if keyword == "type" and any(
            item not in _TYPES for item in ([value] if isinstance(value, str) else self._list(value, path))
        ):
            raise self._error(path, f"must be of {', '.join(_TYPES)}, got {reprlib.repr(value)}")
        for pattern in (value,) if keyword == "pattern" else value if keyword == "patternProperties" else ():
            if isinstance(pattern, str):
                check_regex_size(pattern, f"The schema's {path}", self._parameter)
        if keyword in _COUNTS:
            self._check_count(keyword, value, path, node)

    def _check_count(self, keyword: str, value: Any, path: str, node: Mapping[str, Any]) -> None:
        limit = _LIMITS.get(keyword)
        if not _is_count(value) or (limit is not None and value > limit):
            bounds = "from 0" if limit is None else f"from 0 to {limit}"
            raise self._error(path, f"must be an integer {bounds}, got {reprlib.repr(value)}")
        # The grammar cannot see that a free name was given before.
        if keyword == "minProperties" and value > len(_items(node.get("required"))) + 1:
            raise self._error(path, "is not supported beyond the required properties and one more")

    def _list(self, value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise self._error(path, f"must be a list, got {reprlib.repr(value)}")
        return value

    def _error(self, path: str, rule: str) -> InvalidRequestError:
        return InvalidRequestError(f"The schema's {path} {rule}.", parameter=self._parameter)


def _closing(names: Mapping[str, None]) -> dict[str, Any]:
    """Returns a schema of objects that have no properties but these."""
    return {"properties": dict.fromkeys(names, True), "additionalProperties": False}


def _keep_exclusive_bounds(prepared: dict[str, Any]) -> None:
    """Moves a whole number that is an exclusive bound a little, where the other bound is less than 1 away.

    llguidance (1.9) takes it for allowed there: 1 in `{"exclusiveMinimum": 1, "maximum": 1.5}`.
    """
    for name, other_names, inclusive, sign in _EXCLUSIVE_BOUNDS:
        bound: Any = prepared.get(name)
        others = [prepared[other] for other in other_names if _is_number(prepared.get(other))]
        width = min((sign * (other - bound) for other in others), default=1) if _is_number(bound) else 1
        if not 0 < width < 1 or bound != int(bound):
            continue
        moved = bound + sign * width / 1e6
        # Far from zero no other number lies between.
        moved = moved if moved != bound else bound + sign * width
        del prepared[name]
        beside = prepared.get(inclusive)
        limits = [moved, beside] if _is_number(beside) else [moved]
        prepared[inclusive] = max(limits) if sign > 0 else min(limits)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain_value(keyword: str, value: Any) -> Any:
    """Returns the value of a keyword without schemas in it, as llguidance wants it."""
    if keyword == "enum":
        return [item for item in value if is_writable(item)]
    if keyword == "pattern" and isinstance(value, str):
        return as_rust(value)
    return int(value) if keyword in _COUNTS else value


def _is_pass_through(node: Mapping[str, Any]) -> bool:
    """Whether all that a schema says is said by one schema in it, or by one of several."""
    found = [keyword for keyword in IN_PLACE if keyword in node]
    others = [keyword for keyword in node if keyword in ASSERTIONS or keyword in {*SUBSCHEMAS, *SUBSCHEMA_MAPS}]
    if len(found) != 1 or any(keyword != "type" for keyword in others):
        return False
    return found != ["allOf"] or (isinstance(node["allOf"], list) and len(node["allOf"]) == 1)


def _is_harmless(keyword: str, value: Any, node: Mapping[str, Any]) -> bool:
    """Whether a refused keyword says nothing here, or something that is understood."""
    if is_understood(keyword, value):
        return True
    if keyword in NEEDS:
        return not any(other in node for other in NEEDS[keyword])
    if keyword == "uniqueItems" and _is_count(node.get("maxItems")) and node["maxItems"] <= 1:
        return True
    harmless = HARMLESS.get(keyword, ())
    return any(value is item or (isinstance(item, dict) and value == item) for item in harmless)


def _items(value: object) -> list[Any]:
    """Returns the items of a list and the names of an object; what is malformed is refused where it stands."""
    return list(value) if isinstance(value, (list, Mapping)) else []


def _is_count(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return value >= 0 and value == value // 1
