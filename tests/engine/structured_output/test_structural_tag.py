import pytest

from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Chain, FreeText, Json, Lark, OneOf, Pattern, Repeated, Text
from vllm_local.structured_output.structural_tag import StructuralTags

SCHEMA = {"type": "object"}
TAG = {"type": "tag", "begin": "<f>", "content": {"type": "json_schema", "json_schema": SCHEMA}, "end": "</f>"}
CALL = Chain((Text("<f>"), Json(SCHEMA), Text("</f>")))
FREE = FreeText(("<f",))


def read(tag):
    return StructuralTags("structured_outputs.structural_tag").read(tag)


def read_format(**item):
    return read({"type": "structural_tag", "format": item})


def test_the_old_shape():
    old = {"structures": [{"begin": "<f>", "schema": SCHEMA, "end": "</f>"}], "triggers": ["<f"]}
    assert read(old) == Chain((Repeated(Chain((FREE, OneOf((CALL,))))), FREE))


@pytest.mark.parametrize(
    ("item", "constraint"),
    [
        ({"type": "const_string", "value": "x"}, Text("x")),
        ({"type": "regex", "pattern": "x+"}, Pattern("x+")),
        ({"type": "grammar", "grammar": "start: A"}, Lark("start: A")),
        ({"type": "any_text"}, FreeText()),
        ({"type": "any_text", "excludes": ["y"]}, FreeText(("y",))),
        ({"type": "sequence", "elements": [TAG, {"type": "any_text"}]}, Chain((CALL, FreeText()))),
        ({"type": "or", "elements": [TAG, {"type": "any_text"}]}, OneOf((CALL, FreeText()))),
        (TAG, CALL),
        ({**TAG, "content": {"type": "any_text"}}, Chain((Text("<f>"), FreeText(("</f>",)), Text("</f>")))),
        ({**TAG, "end": ["a", "b"]}, Chain((Text("<f>"), Json(SCHEMA), OneOf((Text("a"), Text("b")))))),
        ({"type": "triggered_tags", "triggers": ["<f"], "tags": [TAG], "at_least_one": True},
         Chain((Repeated(Chain((FREE, OneOf((CALL,)))), 1), FREE))),
        ({"type": "triggered_tags", "triggers": ["<f"], "tags": [TAG], "stop_after_first": True},
         OneOf((Chain((FREE, OneOf((CALL,)))), FREE))),
        ({"type": "tags_with_separator", "tags": [TAG], "separator": ",", "at_least_one": True},
         Repeated(OneOf((CALL,)), 1, None, Text(","))),
    ],
)  # fmt: skip
def test_each_format(item, constraint):
    assert read_format(**item) == constraint


@pytest.mark.parametrize(
    ("tag", "path"),
    [
        ({}, r"\$\.format "),
        ({"format": {"type": []}}, r"\$\.format "),
        ({"format": {**TAG, "end": []}}, r"\$\.format\.end "),
        ({"format": {**TAG, "begin": 1}}, r"\$\.format\.begin "),
        ({"format": {**TAG, "content": {"type": "json_schema"}}}, r"\$\.format\.content\.json_schema "),
        ({"format": {"type": "sequence", "elements": [TAG, {}]}}, r"\$\.format\.elements\[1\] "),
        ({"format": {"type": "triggered_tags", "triggers": ["<g"], "tags": [TAG]}}, r"\$\.format\.tags\[0\]\.begin "),
        ({"format": {"type": "triggered_tags", "triggers": [], "tags": [TAG]}}, r"\$\.format\.triggers "),
        (
            {"format": {"type": "tags_with_separator", "tags": [TAG], "separator": "", "at_least_one": 1}},
            r"\$\.format ",
        ),
        ({"structures": [], "triggers": ["<f"]}, r"\$\.structures "),
        ({"structures": [{"begin": "<f>"}], "triggers": ["<f"]}, r"\$\.structures\[0\]\.end "),
    ],
)
def test_what_is_malformed_is_named_with_its_path(tag, path):
    with pytest.raises(InvalidRequestError, match=path) as error:
        read(tag)
    assert error.value.parameter == "structured_outputs.structural_tag"
