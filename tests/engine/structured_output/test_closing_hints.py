from vllm_local.grammar_spec import Chain, FreeText, Json, Text
from vllm_local.structured_output.closing_hints import MAX_GROWTH, fixed_texts, growth, json_pieces

SCHEMA = {"properties": {"b": {"enum": ["long", "x"]}, "a": {}}, "required": ["a", "b"]}
TREE = Chain((FreeText(("<f>",)), Text("<f>"), Json(SCHEMA), Text("</think>")))


def test_texts_and_names_are_cut_as_the_model_would(bridge):
    tag, think = fixed_texts(TREE, bridge)
    assert bridge.bytes_of(tag) == b"<f>"
    assert think == [bridge.special_tokens()["</think>"]]
    pieces = [bridge.bytes_of(piece) for piece in json_pieces(TREE, bridge)]
    assert pieces == [b'"a": ', b'"b": ', b'"x"', b'"long"']
    assert b'"a":' in [bridge.bytes_of(piece) for piece in json_pieces(Json(SCHEMA, ""), bridge)]


def test_growth_is_the_longest_thing_that_must_end(bridge):
    small = growth(Json({"type": "null"}), bridge)
    deep = {"properties": {"x": {"$ref": "#/$defs/d"}}, "$defs": {"d": SCHEMA | {"required": ["a", "b"] * 8}}}
    assert growth(Json(deep), bridge) > small
    assert growth(Json({"anyOf": [{"type": "null"}, {"minLength": 90}]}), bridge) >= 90
    assert growth(Text("word " * 60), bridge) > 40
    endless = {"required": ["a", "b"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}
    assert growth(Json(endless), bridge) < MAX_GROWTH
    wide = {"$defs": {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 9} for i in range(30)}, "minLength": 10**6}
    assert growth(Json(wide), bridge) == MAX_GROWTH
