import json
from typing import Any

import jsonschema
import pytest

from vllm_local.structured_output.json_schema import prepare_schema
from vllm_local.structured_output.shortest_values import ShortestValues


def values(schema, separators=(", ", ": "), count=len):
    return ShortestValues(prepare_schema(schema, parameter="p"), separators, count)


def shortest(schema):
    found = values(schema)
    return found.of(found.root)


NODE = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}}
TREE = {"$defs": {"n": NODE | {"required": ["next"]}}, "$ref": "#/$defs/n"}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (True, "0"),
        ({"type": "string"}, '""'),
        ({"type": "string", "minLength": 3}, '"aaa"'),
        ({"type": "string", "pattern": "^[A-F]{2}-x*$", "minLength": 2}, '"AA-"'),
        ({"type": "string", "format": "date"}, '"2000-01-01"'),
        ({"type": ["integer", "null"], "minimum": 1_000_000}, "null"),
        ({"enum": ["long", "ü", 123]}, '"ü"'),
        ({"enum": ["x", 12345], "type": "integer"}, "12345"),
        ({"const": {"a": [1]}}, '{"a": [1]}'),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, "[true, true]"),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "items": False, "minItems": 2}, "[1, 2]"),
        ({"type": "object", "properties": {"a": {}, "b": {"const": "x"}}, "required": ["b"]}, '{"b": "x"}'),
        ({"type": "object", "properties": {"abc": {}, "d": {}}, "minProperties": 1}, '{"d": 0}'),
        (
            {
                "type": "object",
                "patternProperties": {"^x[0-9]$": {"type": "null"}},
                "additionalProperties": False,
                "minProperties": 1,
            },
            '{"x0": null}',
        ),
        ({"type": "object", "minProperties": 1}, '{"a": 0}'),
        (TREE, '{"next": null}'),
        ({"anyOf": [{"type": "array", "minItems": 9}, {"type": "null"}]}, "null"),
        (
            {
                "allOf": [
                    {"type": "object", "properties": {"a": {"minLength": 2}}, "required": ["a"]},
                    {"properties": {"a": {"type": "string"}, "b": {"enum": [1, 22]}}, "required": ["b"]},
                ]
            },
            '{"a": "aa", "b": 1}',
        ),
    ],
)
def test_the_shortest_value_of_a_schema(schema, text):
    assert shortest(schema) == text
    jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ({}, "0"),
        ({"minimum": -3, "maximum": 9}, "0"),
        ({"minimum": 18}, "18"),
        ({"maximum": -18}, "-18"),
        ({"exclusiveMinimum": 0}, "1"),
        ({"exclusiveMinimum": 0, "maximum": 0.001}, "0.001"),
        ({"minimum": 123456.5, "maximum": 123457.5}, "123457"),
        ({"minimum": -1.75, "maximum": -1.5}, "-1.5"),
        ({"exclusiveMinimum": 0.25, "exclusiveMaximum": 0.375}, "0.3"),
        ({"minimum": 1000, "multipleOf": 7}, "1001"),
        ({"exclusiveMinimum": 0, "multipleOf": 0.25}, "0.25"),
        ({"minimum": 1e20}, "100000000000000000000"),
    ],
)
def test_the_shortest_number_between_bounds(bounds, text):
    schema = {"type": "number", **bounds}
    assert shortest(schema) == text
    jsonschema.validate(json.loads(text), schema)


def test_of_no_value_there_is_none():
    endless = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    for schema in (endless, {"type": "string", "minLength": 10**6}, {"type": "integer", "minimum": 2, "maximum": 1}):
        assert shortest(schema) is None


def test_every_part_has_its_value_and_tokens_count(bridge):
    schema = {"type": "object", "properties": {"a": {"type": "null"}, "b": {"items": {"const": "x"}, "type": "array"}}}
    assert set(values(schema, (",", ":")).all()) == {"{}", "null", "[]", '"x"'}
    words = {"enum": ["the sun and the moon", "zqxjkvbpwzqx"]}
    counted = values(words, count=lambda text: len(bridge.tokenize(text.encode())))
    assert counted.of(counted.root) == '"the sun and the moon"'


def test_what_is_vast_is_given_up_soon():
    wide: dict[str, Any] = {"$defs": {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 9} for i in range(30)}}
    wide["$defs"]["d30"] = {"type": "null"}
    assert shortest({**wide, "$ref": "#/$defs/d0"}) in {None, "null"}
    nine = {"type": "array", "minItems": 9}
    doubling: dict[str, Any] = {"$defs": {f"d{i}": {**nine, "items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(9)}}
    doubling["$defs"]["d9"] = {"type": "null"}
    assert shortest({**doubling, "$ref": "#/$defs/d0"}) is None
