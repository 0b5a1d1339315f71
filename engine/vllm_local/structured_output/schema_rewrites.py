"""Keywords that llguidance does not know, or reads another way, in words that it does know.

Each of them leaves what the schema allows as it is, or a little less of it; never more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MAX_DEPENDENCIES = 5
"""Of one object; each of them doubles the number of its forms."""

_YEAR = r"(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])"
_LEAP_YEAR = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE = rf"(?:{_YEAR}-(?:(?:0[13-9]|1[0-2])-\d\d|02-(?:[01]\d|2[0-8]))|{_LEAP_YEAR}-02-29)"
_SECONDS = r"\d\d:\d\d:[0-5]"
FORMAT_PATTERNS: Mapping[str, str] = {
    "date": f"^{_DATE}",
    "date-time": f"^{_DATE}.{_SECONDS}",
    "time": f"^{_SECONDS}",
}
"""What values of a format match besides.

llguidance (1.9) allows each year a 29 February and each minute a 60th second, and the year 0.
"""

_UNWRITABLE = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f]")
"""Characters that JSON writes as `\\u…` alone, which grammars leave out; see lark_writer.py."""


def say_otherwise(node: Mapping[str, Any], prepared: dict[str, Any]) -> None:
    """Adds to a prepared schema what some keywords of the original mean.

    Args:
        node: The original, checked.
        prepared: What has become of it so far; it is changed.
    """
    _say_items(prepared)
    further = [*_forms_by_dependencies(node), *_forms_without(node.get("not"))]
    pattern = FORMAT_PATTERNS.get(prepared.get("format", ""))
    if pattern is not None and "pattern" in prepared:
        further.append({"pattern": pattern})
    elif pattern is not None:
        prepared["pattern"] = pattern
    if further:
        prepared["allOf"] = [*prepared.get("allOf", ()), *further]


def is_understood(keyword: str, value: Any) -> bool:
    """Says whether `say_otherwise` knows a keyword's value, although not all of the keyword's values."""
    if keyword in {"dependentRequired", "dependencies"}:
        is_small = isinstance(value, Mapping) and len(value) <= MAX_DEPENDENCIES
        return is_small and all(_is_list_of_names(names) for names in value.values())
    if keyword == "not":
        is_required = isinstance(value, Mapping) and set(value) == {"required"} and _is_list_of_names(value["required"])
        return is_required and 0 < len(value["required"]) <= MAX_DEPENDENCIES
    return False


def is_writable(value: Any) -> bool:
    """Says whether grammars can write a constant: its texts hold no control characters but such as have short names."""
    if isinstance(value, str):
        return _UNWRITABLE.search(value) is None
    if isinstance(value, Mapping):
        return all(is_writable(name) and is_writable(item) for name, item in value.items())
    return not isinstance(value, list) or all(map(is_writable, value))


def _say_items(prepared: dict[str, Any]) -> None:
    """Writes the first items as `prefixItems`; `additionalItems` speaks of the list beside it, and of no other."""
    rest = prepared.pop("additionalItems", None)
    if isinstance(prepared.get("items"), list):
        prepared["prefixItems"] = prepared.pop("items")
        if rest is not None:
            prepared["items"] = rest


def _forms_by_dependencies(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = {**(node.get("dependencies") or {}), **(node.get("dependentRequired") or {})}
    return [{"anyOf": [{"properties": {name: False}}, {"required": names}]} for name, names in found.items() if names]


def _forms_without(schema: Any) -> list[dict[str, Any]]:
    if not is_understood("not", schema):
        return []
    forms = [{"properties": {name: False}} for name in schema["required"]]
    return [{"type": "object", **({"anyOf": forms} if len(forms) > 1 else forms[0])}]


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
