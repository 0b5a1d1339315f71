import pytest

from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Json, Lark, OneOf, Pattern, Text
from vllm_local.server.answer_form import read_answer_form, read_format
from vllm_local.server.protocol.base import FormFields
from vllm_local.structured_output.blame import blaming

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
ANY_OBJECT = Json({"type": "object"})
TAG = {"structures": [{"begin": "<f>", "schema": SCHEMA, "end": "</f>"}], "triggers": ["<f>"]}


@pytest.mark.parametrize(
    ("fields", "field", "constraint"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format", ANY_OBJECT),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
            "response_format",
            Json(SCHEMA),
        ),
        ({"structured_outputs": {"json": SCHEMA, "backend": "xgrammar"}}, "structured_outputs", Json(SCHEMA)),
        ({"structured_outputs": {"regex": "a+", "json": None}}, "structured_outputs", Pattern("a+")),
        ({"guided_json": '{"type": "object"}'}, "guided_json", ANY_OBJECT),
        ({"guided_json": SCHEMA, "guided_whitespace_pattern": " ?"}, "guided_json", Json(SCHEMA, " ?")),
        ({"guided_json_object": True}, "guided_json_object", ANY_OBJECT),
        ({"guided_regex": "a+"}, "guided_regex", Pattern("a+")),
        ({"guided_choice": ["a", "b"]}, "guided_choice", OneOf((Text("a"), Text("b")))),
        ({"guided_grammar": 'start: "a"'}, "guided_grammar", Lark('start: "a"')),
    ],
)
def test_every_name_says_the_same(fields, field, constraint):
    form = read_answer_form(FormFields(**fields))
    assert form is not None
    assert (form.field, form.constraint) == (field, constraint)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"response_format": {"type": "text"}},
        {"structured_outputs": {}},
        {"guided_json_object": False},
        {"guided_whitespace_pattern": " "},
    ],
)
def test_what_asks_for_nothing(fields):
    assert read_answer_form(FormFields(**fields)) is None


def test_structural_tags_by_both_names():
    nested = read_answer_form(FormFields(response_format={"type": "structural_tag", **TAG}))
    alone = read_answer_form(FormFields(structural_tag=TAG))
    assert nested is not None
    assert alone is not None
    assert (nested.field, alone.field) == ("response_format", "structural_tag")
    assert nested.constraint == alone.constraint


def test_formats_that_are_not_nested():
    flat = {"type": "json_schema", "name": "a", "schema": SCHEMA}
    form = read_format(flat, "text.format")
    assert form is not None
    assert form.constraint == Json(SCHEMA)
    assert read_format(None, "text.format") is None
    with pytest.raises(InvalidRequestError, match=r"^text\.format\.type is 'yaml'") as caught:
        read_format({"type": "yaml"}, "text.format")
    assert caught.value.parameter == "text.format"


def test_errors_blame_the_request_s_own_field():
    with pytest.raises(InvalidRequestError, match=r"^guided_regex must not be empty") as caught:
        read_answer_form(FormFields(guided_regex=""))
    assert caught.value.parameter == "guided_regex"
    with pytest.raises(InvalidRequestError, match="must be 1") as other, blaming("guided_regex"):
        raise InvalidRequestError("n must be 1.", parameter="n")
    assert other.value.parameter == "n"
