import pytest

from vllm_local.grammar_spec import Chain, FreeText, Json, Lark, OneOf, Pattern, Repeated, Text
from vllm_local.structured_output.closing_hints import MAX_GROWTH, ShortestTexts, fixed_texts, growth

SCHEMA = {"type": "object", "properties": {"b": {"enum": ["long", "x"]}, "a": {}}, "required": ["a", "b"]}
TREE = Chain((FreeText(("<f>",)), Text("<f>"), Json(SCHEMA), Text("</think>")))


def test_texts_and_names_are_cut_as_the_model_would(bridge):
    tag, think = fixed_texts(TREE, bridge)
    assert bridge.bytes_of(tag) == b"<f>"
    assert think == [bridge.special_tokens()["</think>"]]
    pieces = [bridge.bytes_of(piece) for piece in ShortestTexts(bridge, "p").hints(TREE)]
    assert pieces == [b'"a": ', b'"b": ', b"0", b'"x"', b'{"b": "x", "a": 0}', b'"long"']
    assert b'"a":' in [bridge.bytes_of(piece) for piece in ShortestTexts(bridge, "p").hints(Json(SCHEMA, ""))]


@pytest.mark.parametrize(
    ("constraint", "text"),
    [
        (TREE, '<f>{"b": "x", "a": 0}</think>'),
        (Json({"type": "array", "minItems": 2}, ""), "[0,0]"),
        (OneOf((Text("long"), Pattern("[a-z]"))), "a"),
        (Repeated(Text("ab"), 3, None, Text("-")), "ab-ab-ab"),
        (Repeated(Lark('start: "a"')), ""),
        (Repeated(Lark('start: "a"'), 1), None),
        (Chain((Text("a"), Lark('start: "a"'))), None),
        (Chain((Repeated(Chain((FreeText(("<f>",)), Text("<f>")))), FreeText(("<f>",)))), ""),
    ],
)
def test_the_shortest_text_of_a_constraint(bridge, constraint, text):
    assert ShortestTexts(bridge, "p").of(constraint) == text


def test_growth_is_the_longest_thing_that_must_end(bridge):
    small = growth(Json({"type": "null"}), bridge)
    deep = {"properties": {"x": {"$ref": "#/$defs/d"}}, "$defs": {"d": SCHEMA | {"required": ["a", "b"] * 8}}}
    assert growth(Json(deep), bridge) > small
    assert growth(Json({"anyOf": [{"type": "null"}, {"minLength": 90}]}), bridge) >= 90
    assert growth(Json({"type": "string", "pattern": "a{70}"}), bridge) >= 70
    assert growth(Pattern("a|[bc]{80}"), bridge) >= 80
    assert growth(Text("word " * 60), bridge) > 40
    endless = {"required": ["a", "b"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}
    assert growth(Json(endless), bridge) < MAX_GROWTH
    wide = {"$defs": {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 9} for i in range(30)}, "minLength": 10**6}
    assert growth(Json(wide), bridge) == MAX_GROWTH
