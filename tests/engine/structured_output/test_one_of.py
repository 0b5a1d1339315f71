import pytest

from vllm_local.structured_output.one_of import are_disjoint, names_apart, tag_of
from vllm_local.structured_output.schema_refs import SchemaRefs

ROOT = {"$defs": {"text": {"type": "string"}, "one": {"const": 1}}}
REFS = SchemaRefs(ROOT, "json")


def tagged(value, *, required=True):
    return {"type": "object", "properties": {"k": {"const": value}}, **({"required": ["k"]} if required else {})}


@pytest.mark.parametrize(
    ("left", "right", "disjoint"),
    [
        ({"type": "string"}, {"type": "integer"}, True),
        ({"type": "number"}, {"type": "integer"}, False),
        ({"type": ["string", "null"]}, {"type": ["null", "object"]}, False),
        ({"const": 1}, {"const": 2}, True),
        ({"const": 1}, {"const": 1.0}, False),
        ({"enum": ["a", "b"]}, {"enum": ["c"]}, True),
        ({"enum": ["a", "b"]}, {"type": "null"}, True),
        ({"type": "integer", "maximum": 4}, {"type": "integer", "minimum": 5}, True),
        ({"type": "integer", "maximum": 5}, {"type": "integer", "minimum": 5}, False),
        ({"type": "integer", "maximum": 5}, {"type": "integer", "exclusiveMinimum": 5}, True),
        ({"maximum": 4}, {"minimum": 5}, False),
        (tagged("a"), tagged("b"), True),
        (tagged("a"), tagged("b", required=False), True),
        (tagged("a", required=False), tagged("b", required=False), False),
        ({"type": "object", "required": ["x"]}, {"type": "object", "additionalProperties": False}, True),
        ({"type": "object", "required": ["x"]}, {"type": "object"}, False),
        ({"$ref": "#/$defs/text"}, {"$ref": "#/$defs/one"}, True),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, {"type": "object"}, True),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, {"type": "null"}, False),
        ({"allOf": [{}, {"type": "null"}]}, {"type": "string"}, True),
        (True, {"type": "null"}, False),
        (False, True, True),
    ],
)
def test_what_can_never_hold_together(left, right, disjoint):
    assert are_disjoint(left, right, REFS) is disjoint
    assert are_disjoint(right, left, REFS) is disjoint


def test_a_tag_is_a_property_that_tells_all_apart():
    options = [tagged(value, required=False) for value in "abc"]
    assert tag_of(options, REFS) == "k"
    assert tag_of([*options, tagged("a")], REFS) is None
    assert tag_of([*options, {"type": "object"}], REFS) is None
    assert tag_of([], REFS) is None


def test_objects_are_told_apart_by_what_each_must_do_without():
    options = [{"required": ["r"]}, {"required": ["l", "w"]}, {"required": ["b", "w"]}]
    assert names_apart(options, REFS) == [{"l", "b"}, {"r", "b"}, {"r", "l"}]
    assert names_apart([{"required": ["a"]}, {"required": ["a", "b"]}], REFS) is None
    assert names_apart([{"required": ["a"]}, {"type": "object"}], REFS) is None
    assert names_apart([{"required": ["a"]}, {"type": "null"}], REFS) is None
    assert names_apart([{"type": "object", "required": ["a"]}, {"type": "null"}], REFS) == [set(), set()]
