import pytest

from vllm_local.errors import InvalidRequestError
from vllm_local.structured_output.schema_refs import MAX_STEPS, SchemaRefs

ROOT = {
    "$defs": {"a": {"$ref": "#/$defs/b", "title": "A"}, "b": {"$id": "#b", "type": "null"}},
    "allOf": [{"const": 1}],
}


def test_targets_come_with_their_path():
    refs = SchemaRefs(ROOT, "json")
    assert refs.resolve("#", "$") == ("$", ROOT)
    assert refs.resolve("#/allOf/0", "$") == ("$.allOf.0", {"const": 1})
    assert refs.resolve("#b", "$")[1] == {"$id": "#b", "type": "null"}


def test_chains_of_references_are_followed_to_their_end():
    refs = SchemaRefs(ROOT, "json")
    assert refs.follow({"$ref": "#/$defs/a"}) == {"$id": "#b", "type": "null"}
    beside = {"$ref": "#/$defs/a", "type": "string"}
    assert refs.follow(beside) is beside
    circle = SchemaRefs({"$ref": "#"}, "json")
    assert circle.follow({"$ref": "#"}) == {"$ref": "#"}


@pytest.mark.parametrize("reference", ["#/none", "#none", "#/allOf/7", "#/allOf/x", "other#", 3, "#/$defs/a/$ref/x"])
def test_references_to_nowhere_are_refused(reference):
    with pytest.raises(InvalidRequestError, match=r"\$\.x\.\$ref"):
        SchemaRefs(ROOT, "json").resolve(reference, "$.x")


def test_look_ups_are_limited():
    refs = SchemaRefs(ROOT, "json")
    for _ in range(MAX_STEPS):
        refs.count_step()
    with pytest.raises(InvalidRequestError, match="plainly"):
        refs.count_step()
