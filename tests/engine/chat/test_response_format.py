import pytest

from vllm_local.chat.response_format import read_answer_form, read_response_format
from vllm_local.errors import InvalidRequestError
from vllm_local.structured_outputs_params import StructuredOutputsParams

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
OF_SCHEMA = StructuredOutputsParams(json=SCHEMA)
ANY_OBJECT = StructuredOutputsParams(json_object=True)
TAGS = {"structures": [{"begin": "<a>", "schema": True, "end": "</a>"}], "triggers": ["<a>"]}


@pytest.mark.parametrize(
    ("response_format", "form"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, ANY_OBJECT),
        ({"type": "json_object", "schema": SCHEMA}, OF_SCHEMA),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}, OF_SCHEMA),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": False}}, OF_SCHEMA),
        ({"type": "json_schema", "json_schema": {"name": "n"}}, ANY_OBJECT),
        ({"type": "structural_tag", **TAGS}, StructuredOutputsParams(structural_tag=TAGS)),
    ],
)
def test_formats(response_format, form):
    assert read_response_format(response_format) == form


@pytest.mark.parametrize(
    ("response_format", "problem"),
    [
        ("json", "response_format must be a dict"),
        ({}, "response_format.type is None"),
        ({"type": "yaml"}, "response_format.type is 'yaml'; use one of text, json_object"),
        ({"type": "json_schema"}, "response_format.json_schema must be a dict"),
        ({"type": "json_schema", "json_schema": {"schema": [1]}}, "response_format.json_schema.schema must be"),
        ({"type": "json_object", "schema": 3}, "response_format.schema must be"),
    ],
)
def test_mistakes_are_named_with_their_place(response_format, problem):
    with pytest.raises(InvalidRequestError, match=problem) as caught:
        read_response_format(response_format)
    assert caught.value.parameter == "response_format"


def test_one_form_only():
    choice = StructuredOutputsParams(choice=["a", "b"])
    assert read_answer_form(None, choice) == choice
    assert read_answer_form({"type": "text"}, choice) == choice
    assert read_answer_form({"type": "json_object"}, None) == ANY_OBJECT
    with pytest.raises(InvalidRequestError, match="give one of them"):
        read_answer_form({"type": "json_object"}, choice)
