import pytest

from langchain_vllm_local._schema_check import SchemaMismatchError, check_instance

TREE = {
    "$defs": {"node": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}},
    "$ref": "#/$defs/node",
}
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer", "minimum": 0}, "y": {"anyOf": [{"type": "number"}, {"type": "null"}]}},
    "required": ["x"],
    "additionalProperties": False,
}

# schema, a value that fits, one that does not, and what is said of it.
CASES: list[tuple] = [
    (POINT, {"x": 1}, {}, r"\$ lacks the required property 'x'"),
    (POINT, {"x": 1.0, "y": None}, {"x": 1.5}, r"\$\.x must be of type integer, got 1\.5"),
    (POINT, {"x": 1, "y": 2.5}, {"x": 1, "y": "2"}, r"\$\.y fits none of the anyOf options"),
    (POINT, {"x": 0}, {"x": -1}, r"\$\.x must be at least 0"),
    (POINT, {"x": 0}, {"x": True}, r"\$\.x must be of type integer, got True"),
    (POINT, {"x": 0}, {"x": 0, "z": 1}, r"\$\.z must not be there"),
    (POINT, {"x": 0}, [0], r"\$ must be of type object"),
    (TREE, {"kids": [{"kids": []}]}, {"kids": [{"kids": 3}]}, r"\$\.kids\[0\]\.kids must be of type array"),
    ({"enum": ["a", 1]}, 1, True, r"must be one of"),
    ({"const": "a"}, "a", "b", "must be 'a'"),
    ({"type": ["string", "null"]}, None, 1, "must be of type string or null"),
    ({"type": "string", "maxLength": 2}, "ab", "abc", "length of at most 2"),
    ({"type": "string", "pattern": "^a"}, "ab", "ba", "must match"),
    ({"type": "array", "minItems": 1}, [1], [], "as many items as 1"),
    ({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, ["a", 1], ["a", "b"], r"\$\[1\] must be"),
    ({"allOf": [{"minimum": 1}, {"exclusiveMaximum": 3}]}, 2, 3, "must be below 3"),
    ({"additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": "b"}, r"\$\.a must be of type integer"),
    ({"definitions": {"a": {"const": 1}}, "properties": {"b": {"$ref": "#/definitions/a"}}}, {"b": 1}, {"b": 2}, "b"),
]


@pytest.mark.parametrize(("schema", "good", "bad", "problem"), CASES)
def test_values_are_checked(schema, good, bad, problem):
    check_instance(good, schema)
    with pytest.raises(SchemaMismatchError, match=problem):
        check_instance(bad, schema)


@pytest.mark.parametrize("schema", [{}, {"$ref": "https://a.b/c"}, {"pattern": "(?<n>"}, {"type": "date"}, {"x": 1}])
def test_what_is_not_known_counts_as_kept(schema):
    check_instance("anything", schema)
