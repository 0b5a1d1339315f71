from vllm_local.grammar_spec import (
    Chain,
    Constraint,
    FreeText,
    Json,
    OneOf,
    Repeated,
    Text,
    constraint_key,
    sub_constraints,
)


def test_equal_constraints_and_only_they_have_equal_keys():
    constraints: list[Constraint] = [
        Text("a"),
        FreeText(("a",)),
        Chain((Text("a"),)),
        OneOf((Text("a"),)),
        OneOf((Text("a"), Text("b"))),
        Repeated(Text("a")),
        Repeated(Text("a"), 1),
        Repeated(Text("a"), 0, 1),
        Repeated(Text("a"), separator=Text(",")),
        Json(True),
        Json({"properties": {"a": {}, "b": {}}}),
        Json({"properties": {"b": {}, "a": {}}}),
        Json({"properties": {"a": {}, "b": {}}}, whitespace=""),
        Json({"properties": {"a": {}, "b": {}}}, closed=False),
    ]
    keys = [constraint_key(item) for item in constraints]
    assert len(set(keys)) == len(keys)
    assert constraint_key(Chain((Text("ä"), Json({"a": 1})))) == constraint_key(Chain((Text("ä"), Json({"a": 1}))))


def test_sub_constraints_are_walked_outer_first_and_in_order():
    tree = Chain((OneOf((Text("a"), Text("b"))), Repeated(Text("c"), separator=Text("d"))))
    kinds = [item.text if isinstance(item, Text) else type(item).__name__ for item in sub_constraints(tree)]
    assert kinds == ["Chain", "OneOf", "a", "b", "Repeated", "c", "d"]
