"""What each keyword of JSON schema means here: kept, let through, or refused with a reason."""

from __future__ import annotations

from collections.abc import Mapping

SUBSCHEMAS = ("items", "additionalItems", "additionalProperties")
"""Keywords that hold one schema (`items` may hold a list of them)."""
SUBSCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
"""Keywords that hold a list of schemas."""
SUBSCHEMA_MAPS = ("properties", "patternProperties")
"""Keywords that hold schemas by name."""
IN_PLACE = ("$ref", "allOf", "anyOf", "oneOf")
"""Keywords whose schemas speak about the same value as their neighbours."""

ASSERTIONS = frozenset(
    {
        "type",
        "const",
        "enum",
        "minItems",
        "maxItems",
        "required",
        "minProperties",
        "maxProperties",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
    }
)
"""Keywords with a plain value that the grammar enforces."""

FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"},
)
"""Values of `format` that the grammar enforces; the standard calls all of them notes, so others are let through."""

REFUSED: Mapping[str, str] = {
    "not": "but for `required` of up to 5 names; say what is allowed, with `enum`, `type` or bounds",
    "if": "use `anyOf` with one schema a case",
    "then": "use `anyOf` with one schema a case",
    "else": "use `anyOf` with one schema a case",
    "contains": "use `prefixItems` for the items that must be there",
    "minContains": "use `prefixItems` for the items that must be there",
    "maxContains": "use `prefixItems` and `items`",
    "uniqueItems": "use an object with one boolean property a value, or `prefixItems`",
    "propertyNames": "use `patternProperties` with `additionalProperties: false`",
    "dependencies": "up to 5 lists of names are; beyond, use `anyOf` with one object a case",
    "dependentRequired": "up to 5 lists of names are; beyond, use `anyOf` with one object a case",
    "dependentSchemas": "use `anyOf` with one object a case",
    "unevaluatedItems": "use `items: false` behind `prefixItems`",
    "unevaluatedProperties": "but for `false` beside `properties`, `allOf` and `$ref`; use `additionalProperties`",
    "$dynamicRef": "use `$ref`",
    "$recursiveRef": "use `$ref`",
    "extends": "use `allOf`",
    "disallow": "say what is allowed instead",
    "divisibleBy": "use `multipleOf`",
}
"""Keywords that narrow a value in a way that the grammar cannot follow, and what to write instead."""

HARMLESS: Mapping[str, tuple[object, ...]] = {
    "uniqueItems": (False,),
    "not": (False, True, {}, {"not": {}}),
    "propertyNames": (True, {}),
    "unevaluatedProperties": (True, {}),
    "unevaluatedItems": (True, {}),
    "dependencies": ({},),
    "dependentRequired": ({},),
    "dependentSchemas": ({},),
}
"""Values of refused keywords that allow everything, or nothing."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "if": ("then", "else"),
    "then": ("if",),
    "else": ("if",),
    "minContains": ("contains",),
    "maxContains": ("contains",),
}
"""Refused keywords that say nothing without one of others."""
