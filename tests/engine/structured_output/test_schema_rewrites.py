import json

import jsonschema
import pytest

from tests.engine.structured_output.test_json_schema import prepare
from vllm_local.errors import InvalidRequestError
from vllm_local.structured_output.schema_rewrites import MAX_DEPENDENCIES, is_writable
from vllm_local.structured_outputs_params import StructuredOutputsParams

ABC = {"type": "object", "properties": {name: {"type": "integer"} for name in "abc"}}
TEXT = {"type": "string"}
TAGGED = {"oneOf": [{"properties": {"kind": {"const": kind}}} for kind in ("x", "y")]}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({**TEXT, "format": "date"}, ["2020-02-29", "2000-02-29", "2021-12-31"],
         ["2021-02-29", "1900-02-29", "0000-01-01", "2020-02-30", "2020-04-31", "2020-13-01"]),
        ({**TEXT, "format": "date-time"}, ["2020-02-29T23:59:59Z", "2021-01-01T00:00:00.5+01:00"],
         ["2021-02-29T00:00:00Z", "2021-01-01T00:00:60Z", "0000-01-01T00:00:00Z"]),
        ({**TEXT, "format": "time"}, ["23:59:59Z"], ["23:58:60Z", "24:00:00Z"]),
        ({**TEXT, "format": "time", "pattern": "Z$"}, ["23:59:59Z"], ["23:59:60Z", "23:59:59+01:00"]),
        ({**ABC, "dependentRequired": {"a": ["b"]}}, [{"a": 1, "b": 1}, {"b": 1}, {}], [{"a": 1}, {"a": 1, "c": 1}]),
        ({**ABC, "dependencies": {"a": ["b"], "b": ["c"]}}, [{"a": 1, "b": 1, "c": 1}, {}], [{"a": 1, "b": 1}]),
        ({**ABC, "not": {"required": ["a"]}}, [{"b": 1}], [{"a": 1}]),
        ({**ABC, "not": {"required": ["a", "b"]}}, [{"a": 1}, {"b": 1}], [{"a": 1, "b": 1}]),
        ({**ABC, "oneOf": [{"required": ["a"]}, {"required": ["b", "c"]}]},
         [{"a": 1}, {"a": 1, "c": 1}, {"b": 1, "c": 1}], [{"a": 1, "b": 1, "c": 1}, {"b": 1}, {}]),
        (TAGGED, [{"kind": "x"}], [{}, 5]),
        ({"items": [{"type": "integer"}], "additionalItems": {"type": "null"}}, [[1], [1, None]], [[None], [1, 2]]),
        ({"items": {"type": "integer"}, "additionalItems": False}, [[1, 2]], [[None]]),
        ({**TEXT, "minLength": 1.0, "maxLength": 2.0}, ["a", "ab"], ["", "abc"]),
        ({"enum": ["a\0b", "c", {"\x1f": 1}]}, ["c"], ["ab", {"": 1}]),
    ],
)  # fmt: skip
def test_the_grammar_keeps_to_it(compiler, bridge, schema, good, bad):
    for value in (*good, *bad):
        grammar = compiler.compile(StructuredOutputsParams(json=schema), 1000)
        accepted = grammar.accept(bridge.tokenize(json.dumps(value).encode())) and grammar.is_fulfilled()
        assert accepted == (value in good), value
    validator = jsonschema.Draft7Validator({**schema, "format": "none"})
    assert all(validator.is_valid(value) for value in good)


@pytest.mark.parametrize("value", ["\0", "\x7f", ["\x1f"], {"\x0b": 1}])
def test_a_constant_that_cannot_be_written_is_refused(value):
    assert not is_writable(value)
    with pytest.raises(InvalidRequestError, match=r"\$\.const"):
        prepare({"const": value})
    with pytest.raises(InvalidRequestError, match=r"\$\.enum"):
        prepare({"enum": [value]})


@pytest.mark.parametrize("value", ['\n\t\r\b\f"\\', "é日", [1, None], {"a": "\n"}])
def test_a_constant_that_can_be_written_is_kept(value):
    assert prepare({"const": value}) == {"const": value}


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("dependencies", {"a": {"required": ["b"]}}),
        ("dependentRequired", {str(number): ["b"] for number in range(MAX_DEPENDENCIES + 1)}),
        ("not", {"required": [], "type": "object"}),
        ("not", {"required": []}),
    ],
)
def test_what_is_more_than_that_is_refused(keyword, value):
    with pytest.raises(InvalidRequestError, match=rf"\$\.{keyword} is not supported"):
        prepare({keyword: value})


def test_the_compilers_own_reasons_are_told_without_its_grammar(compiler):
    schema = {"type": "object", "patternProperties": {"^a": {"type": "integer"}, "b$": {}}}
    with pytest.raises(InvalidRequestError) as error:
        compiler.compile(StructuredOutputsParams(json=schema), 10)
    reason = "patternProperty regexes /^a/ and /b$/ are not disjoint"
    assert str(error.value) == f"structured_outputs.json cannot be compiled: {reason}."
