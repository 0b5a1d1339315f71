"""A short value of each part of a JSON schema, as text; guesses that the grammar checks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from vllm_local.structured_output.schema_keywords import SUBSCHEMA_LISTS, SUBSCHEMA_MAPS, SUBSCHEMAS
from vllm_local.structured_output.shortest_match import shortest_match

MAX_DEPTH = 48
"""Levels that a value is looked for in."""
MAX_LOOKS = 20_000
"""Parts that are looked at, those that are looked at twice counted twice."""
MAX_TEXT = 20_000
"""Characters of a value."""
MAX_OPTIONS = 64
"""Alternatives of one part."""
_MAX_DECIMALS = 18
_FORMATS = {
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "date": "2000-01-01",
    "duration": "P1D",
    "email": "a@a",
    "hostname": "a",
    "ipv4": "0.0.0.0",  # noqa: S104 - a text
    "ipv6": "::",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "a:",
}
_LARGEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_SMALLEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_TYPES = ("number", "null", "string", "boolean", "array", "object")
_IN_PLACE = ("$ref", "allOf", "anyOf")


class ShortestValues:
    """Looks for the values of fewest tokens that a schema's parts allow.

    Attributes:
        root: The schema.
    """

    def __init__(self, root: Mapping[str, Any], separators: tuple[str, str], count: Callable[[str], int]) -> None:
        """Looks at nothing yet.

        Args:
            root: A schema as `prepare_schema` makes it.
            separators: What stands between items and behind names.
            count: Returns a text's tokens.
        """
        self.root = root
        self._comma, self._colon = separators
        self._count = count
        self._looks = 0
        self._known: dict[tuple[int, int], str | None] = {}
        # Parts are told apart by identity, so those that are made here must live as long.
        self._plain: dict[int, list[Mapping[str, Any]]] = {}
        self._kept: list[Any] = []

    def of(self, node: Any, depth: int = MAX_DEPTH) -> str | None:
        """Returns a short value of a part, or None where none was found."""
        if isinstance(node, bool):
            return "0" if node else None
        key = (id(node), depth)
        if key not in self._known:
            self._known[key] = None
            self._looks += 1
            if depth > 0 and self._looks <= MAX_LOOKS:
                self._known[key] = self._best(self._value(option, depth) for option in self._options(node))
        return self._known[key]

    def all(self) -> Iterator[str]:
        """Yields the values of all parts, outer ones first."""
        pending: list[Any] = [self.root]
        while pending and self._looks < MAX_LOOKS:
            node = pending.pop(0)
            value = self.of(node) if isinstance(node, Mapping) else None
            if value is not None:
                yield value
            pending.extend(_parts(node))

    def _best(self, texts: Iterable[str | None]) -> str | None:
        found = [text for text in texts if text is not None and len(text) <= MAX_TEXT]
        return min(found, key=self._count, default=None) if len(found) > 1 else next(iter(found), None)

    def _options(self, node: Mapping[str, Any], depth: int = 16) -> list[Mapping[str, Any]]:
        """Returns the alternatives of a part, each in one piece, without references."""
        if id(node) in self._plain:
            return self._plain[id(node)]
        own = {key: value for key, value in node.items() if key not in _IN_PLACE}
        rows: list[list[Any]] = [[self._target(node["$ref"])]] if "$ref" in node else []
        rows += [[part] for part in node.get("allOf", ())]
        rows += [node["anyOf"]] if "anyOf" in node else []
        found: list[Mapping[str, Any]] = [own]
        for row in rows if depth and self._looks <= MAX_LOOKS else ():
            inner = [plain for part in row for plain in self._options_of(part, depth - 1)]
            found = [_merged(left, right) for left in found for right in inner[:MAX_OPTIONS]][:MAX_OPTIONS]
            self._looks += len(found)
        self._kept.append(node)
        return self._plain.setdefault(id(node), found if depth else [])

    def _options_of(self, part: Any, depth: int) -> list[Mapping[str, Any]]:
        if isinstance(part, bool):
            return [{}] if part else []
        return self._options(part, depth) if isinstance(part, Mapping) else []

    def _target(self, reference: str) -> Any:
        return self.root.get("$defs", {}).get(reference.removeprefix("#/$defs/"))

    def _value(self, plain: Mapping[str, Any], depth: int) -> str | None:
        named = plain.get("type")
        types = _TYPES if named is None else [named] if isinstance(named, str) else named
        if "const" in plain or "enum" in plain:
            literals = [plain["const"]] if "const" in plain else plain["enum"]
            texts = (_text(item) for item in literals if named is None or _has_type(item, types))
            return self._best(sorted(texts, key=len)[:MAX_OPTIONS])
        return self._best(self._of_type(plain, item, depth) for item in types)

    def _of_type(self, plain: Mapping[str, Any], name: str, depth: int) -> str | None:
        if name in {"null", "boolean"}:
            return "null" if name == "null" else "true"
        if name == "string":
            return _string(plain)
        if name in {"number", "integer"}:
            return _number(plain, is_integer=name == "integer")
        return self._object(plain, depth) if name == "object" else self._array(plain, depth)

    def _array(self, plain: Mapping[str, Any], depth: int) -> str | None:
        items = plain.get("items", True)
        first = plain.get("prefixItems", items if isinstance(items, list) else [])
        others = plain.get("additionalItems", True) if isinstance(items, list) else items
        least = plain.get("minItems", 0)
        values = [self.of(item, depth - 1) for item in first[:least]]
        more = least - len(values)
        if more > 0:
            values += [self.of(others, depth - 1)] * min(more, MAX_TEXT)
        found = [value for value in values if value is not None]
        return None if len(found) < len(values) else f"[{self._comma.join(found)}]"

    def _object(self, plain: Mapping[str, Any], depth: int) -> str | None:
        properties = plain.get("properties", {})
        required = plain.get("required", ())
        names = [*(name for name in properties if name in required)]
        names += [name for name in dict.fromkeys(required) if name not in properties]
        others = plain.get("additionalProperties", True)
        members: list[tuple[str, Any]] = [(name, properties.get(name, others)) for name in names]
        if len(members) < plain.get("minProperties", 0):
            members += self._one_more(plain, names)
        texts = [(_text(name), self.of(schema, depth - 1)) for name, schema in members]
        written = [f"{name}{self._colon}{value}" for name, value in texts if value is not None]
        return None if len(written) < len(texts) else f"{{{self._comma.join(written)}}}"

    def _one_more(self, plain: Mapping[str, Any], names: list[str]) -> list[tuple[str, Any]]:
        """Returns a member that an object need not have, where it needs one more."""
        free = ((name, schema) for name, schema in plain.get("properties", {}).items() if name not in names)
        matched = ((shortest_match(name), schema) for name, schema in plain.get("patternProperties", {}).items())
        options = [*free, *((name, schema) for name, schema in matched if name is not None)]
        if plain.get("additionalProperties", True) is not False:
            options.append(("a", plain.get("additionalProperties", True)))
        written = [(name, schema, self.of(schema)) for name, schema in options]
        sizes = [(self._count(_text(name) + value), name, schema) for name, schema, value in written if value]
        return [(name, schema) for _, name, schema in sorted(sizes, key=lambda item: item[0])[:1]]


def _parts(node: Any) -> list[Any]:
    """Returns the schemas right inside of one."""
    if not isinstance(node, Mapping):
        return []
    lists = [node.get(keyword) for keyword in (*SUBSCHEMA_LISTS, "items")]
    maps = [node.get(keyword) for keyword in (*SUBSCHEMA_MAPS, "$defs")]
    parts = [node.get(keyword) for keyword in SUBSCHEMAS]
    parts += [part for parts_of_one in lists if isinstance(parts_of_one, list) for part in parts_of_one]
    return parts + [part for named in maps if isinstance(named, Mapping) for part in named.values()]


def _merged(left: Mapping[str, Any], right: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a schema that says what two say, for the keywords that a short value depends on."""
    merged = {**left, **right}
    for keyword in left.keys() & right.keys():
        ours, theirs = left[keyword], right[keyword]
        if keyword == "properties":
            merged[keyword] = {**ours, **{name: _both(ours.get(name, True), theirs[name]) for name in theirs}}
        elif keyword == "required":
            merged[keyword] = [*ours, *theirs]
        elif keyword in {"enum", "type"}:
            first, second = ([item] if isinstance(item, str) else item for item in (ours, theirs))
            merged[keyword] = [item for item in first if item in second or (item == "integer" and "number" in second)]
            merged[keyword] += ["integer"] if "number" in first and "integer" in second and keyword == "type" else []
        elif keyword in _LARGEST or keyword in _SMALLEST:
            merged[keyword] = max(ours, theirs) if keyword in _LARGEST else min(ours, theirs)
    return merged


def _both(left: Any, right: Any) -> Any:
    if left is True or right is True or left is right:
        return right if left is True else left
    return {"allOf": [left, right]}


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _has_type(value: object, types: Iterable[str]) -> bool:
    if isinstance(value, bool) or value is None:
        return ("null" if value is None else "boolean") in types
    kinds: dict[type, set[str]] = {str: {"string"}, list: {"array"}, int: {"integer", "number"}, float: {"number"}}
    return bool(kinds.get(type(value), {"object"}) & set(types))


def _string(plain: Mapping[str, Any]) -> str | None:
    if "format" in plain:
        return _text(_FORMATS[plain["format"]]) if plain["format"] in _FORMATS else None
    text = shortest_match(plain["pattern"]) if isinstance(plain.get("pattern"), str) else ""
    if text is None or plain.get("minLength", 0) > MAX_TEXT:
        return None
    return _text(text + "a" * (plain.get("minLength", 0) - len(text)))


def _number(plain: Mapping[str, Any], *, is_integer: bool) -> str | None:
    """Returns the shortest number between the bounds; nearest to zero among equally short ones."""
    low, low_is_out = _bound(plain, "minimum", "exclusiveMinimum", max)
    high, high_is_out = _bound(plain, "maximum", "exclusiveMaximum", min)
    if (low < 0 or (low == 0 and not low_is_out)) and (high > 0 or (high == 0 and not high_is_out)):
        return "0"
    is_negative = high <= 0
    if is_negative:
        low, low_is_out, high, high_is_out = -high, high_is_out, -low, low_is_out
    for step in _steps(plain.get("multipleOf"), is_integer=is_integer):
        number = math.ceil(Fraction(low) / step) * step
        number += step if number == low and low_is_out else 0
        if number < high or (number == high and not high_is_out):
            decimal = Decimal(number.numerator) / Decimal(number.denominator)
            return f"{'-' if is_negative else ''}{decimal.normalize():f}"
    return None


def _bound(plain: Mapping[str, Any], name: str, exclusive_name: str, choose: Callable[..., Any]) -> tuple[Any, bool]:
    endless = -math.inf if choose is max else math.inf
    bounds = [plain.get(key) for key in (name, exclusive_name)]
    inclusive, exclusive = (
        endless if isinstance(bound, bool) or not isinstance(bound, (int, float)) else Fraction(str(bound))
        for bound in bounds
    )
    chosen = choose(inclusive, exclusive)
    # Draft 4 says with a boolean that the bound itself is out.
    return chosen, chosen != endless and (exclusive == chosen or bounds[1] is True)


def _steps(multiple_of: object, *, is_integer: bool) -> Iterator[Fraction]:
    """Yields the grids that numbers are looked for on, coarse ones first."""
    if isinstance(multiple_of, (int, float)) and multiple_of > 0:
        step = Fraction(str(multiple_of))
        yield Fraction(step.numerator) if is_integer else step
        return
    for decimals in range(1 if is_integer else _MAX_DECIMALS):
        yield Fraction(1, 10**decimals)
