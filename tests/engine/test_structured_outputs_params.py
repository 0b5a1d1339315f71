import json
from typing import Any

import pytest

from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Text
from vllm_local.sampling_params import SamplingParams, StructuredOutputsParams
from vllm_local.structured_outputs_params import MAX_GRAMMAR_BYTES, MAX_LARK_BYTES, MAX_NESTING, MAX_NUMBER_OF_CHOICES


def nested(levels):
    schema: dict[str, object] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"json": {"type": "object"}}, "json"),
        ({"json": '{"type": "object"}'}, "json"),
        ({"regex": "a+"}, "regex"),
        ({"choice": ["a", "b"]}, "choice"),
        ({"grammar": "root ::= 'a'"}, "grammar"),
        ({"json_object": True}, "json_object"),
        ({"structural_tag": {"type": "structural_tag"}}, "structural_tag"),
        ({"constraint": Text("a")}, "constraint"),
        ({"json_object": False, "regex": "a"}, "regex"),
    ],
)
def test_exactly_one_kind_is_taken(given, kind):
    assert StructuredOutputsParams(**given).kind == kind


def test_a_schema_is_a_mapping_of_its_own_afterwards():
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    params = StructuredOutputsParams(json=schema)
    schema["type"] = "array"
    assert isinstance(params.json, dict)
    assert params.json["type"] == "object"
    assert list(params.json["properties"]) == ["b", "a"]
    assert StructuredOutputsParams(json=json.dumps(params.json)) == params


@pytest.mark.parametrize(
    ("given", "parameter"),
    [
        ({}, ""),
        ({"json_object": False}, ""),
        ({"json": {}, "regex": "a"}, ""),
        ({"json": "{"}, ".json"),
        ({"json": "[1]"}, ".json"),
        ({"json": 3}, ".json"),
        ({"json": {"minimum": float("nan")}}, ".json"),
        ({"json": '{"minimum": NaN}'}, ".json"),
        ({"json": {"default": {1, 2}}}, ".json"),
        ({"json": nested(MAX_NESTING)}, ".json"),
        ({"json": "[" * 100_000}, ".json"),
        ({"json": {"const": "a" * MAX_GRAMMAR_BYTES}}, ".json"),
        ({"regex": ""}, ".regex"),
        ({"regex": 3}, ".regex"),
        ({"regex": "\ud800"}, ".regex"),
        ({"regex": "a" * (MAX_GRAMMAR_BYTES + 1)}, ".regex"),
        ({"choice": []}, ".choice"),
        ({"choice": "ab"}, ".choice"),
        ({"choice": ["a", 1]}, ".choice"),
        ({"choice": ["a", ""]}, ".choice"),
        ({"choice": [str(i) for i in range(MAX_NUMBER_OF_CHOICES + 1)]}, ".choice"),
        ({"grammar": ""}, ".grammar"),
        ({"grammar": "a" * (MAX_LARK_BYTES + 1)}, ".grammar"),
        ({"json_object": "yes"}, ".json_object"),
        ({"regex": "a", "disable_any_whitespace": "no"}, ".disable_any_whitespace"),
        ({"json": {}, "whitespace_pattern": 1}, ".whitespace_pattern"),
        ({"regex": "a", "starts_after": ""}, ".starts_after"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given, parameter):
    with pytest.raises(InvalidRequestError) as error:
        StructuredOutputsParams(**given)
    assert error.value.parameter == f"structured_outputs{parameter}"


def test_a_schema_at_the_limit_of_nesting_is_taken():
    assert StructuredOutputsParams(json=nested(MAX_NESTING - 1)).kind == "json"


def test_sampling_params_take_a_mapping_of_its_fields():
    given: Any = {"regex": "a"}
    assert SamplingParams(structured_outputs=given).structured_outputs == StructuredOutputsParams(regex="a")
    wrong: Any
    for wrong in ({"guided": "a"}, "a", {1: 2}):
        with pytest.raises(InvalidRequestError) as error:
            SamplingParams(structured_outputs=wrong)
        assert error.value.parameter == "structured_outputs"
