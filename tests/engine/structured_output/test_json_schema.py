import jsonschema
import pytest

from vllm_local.errors import InvalidRequestError
from vllm_local.structured_output.json_schema import MAX_ENUM_VALUES, MAX_ITEMS, MAX_PROPERTIES, prepare_schema
from vllm_local.structured_output.schema_keywords import REFUSED
from vllm_local.structured_outputs_params import StructuredOutputsParams

A = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
B = {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}
CAT = {"type": "object", "properties": {"kind": {"const": "cat", "default": "cat"}}}
DOG = {"type": "object", "properties": {"kind": {"const": "dog", "default": "dog"}}}


def prepare(schema, **options):
    return prepare_schema(schema, parameter="json", **options)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (A, [{"a": ""}], [{"a": "", "c": 1}]),
        ({"type": "object", "properties": {}}, [{}], [{"a": 1}]),
        ({"type": "object"}, [{}, {"a": 1}], [1]),
        ({**A, "additionalProperties": True}, [{"a": "", "c": 1}], []),
        ({**A, "patternProperties": {"^x": {}}}, [{"a": "", "x1": 1, "c": 1}], []),
        ({"properties": {"a": {}}}, [{"a": 1}], [7]),
        ({"required": ["z"], "properties": {"a": {}}}, [{"z": 1}], [{"z": 1, "q": 1}]),
        ({"allOf": [A, B]}, [{"a": "", "b": ""}], [{"a": "", "b": "", "c": 1}]),
        ({"allOf": [A]}, [{"a": ""}], [{"a": "", "c": 1}]),
        ({"anyOf": [A, B]}, [{"a": ""}, {"b": ""}], [{"a": "", "c": 1}]),
        ({**A, "anyOf": [B, {"properties": {"c": {}}}]}, [{"a": "", "b": ""}], [{"a": "", "d": 1}]),
        ({"$ref": "#/$defs/A", "$defs": {"A": A}}, [{"a": ""}], [{"a": "", "c": 1}]),
        ({"allOf": [{"$ref": "#/$defs/A"}, B], "$defs": {"A": A}}, [{"a": "", "b": ""}], [{"a": "", "b": "", "c": 1}]),
        ({"allOf": [A, {"$ref": "#/$defs/B"}], "unevaluatedProperties": False, "$defs": {"B": B}},
         [{"a": "", "b": ""}], [{"a": "", "b": "", "c": 1}, {"a": ""}]),
        ({"allOf": [{**A, "unevaluatedProperties": False}, {"properties": {"b": {}}}]},
         [{"a": ""}], [{"a": "", "b": 1}]),
        ({"unevaluatedProperties": False}, [{}], [{"a": 1}]),
        ({"anyOf": [{"type": "null"}, {"enum": []}]}, [None], ["", []]),
        ({"pattern": r"^[a[]+$", "patternProperties": {r"^[-[]": {}}}, ["[a", {"-": 1}], ["b"]),
        ({"items": A}, [[{"a": ""}]], [[{"a": "", "c": 1}]]),
        ({"oneOf": [{"$ref": "#/$defs/C"}, {"$ref": "#/$defs/D"}], "$defs": {"C": CAT, "D": DOG}},
         [{"kind": "cat"}, {"kind": "dog"}], [{}]),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}], "anyOf": [{"minimum": 3}, {"minLength": 2}]},
         [4, "ab"], [None]),
    ],
)  # fmt: skip
def test_what_is_left_is_what_was_meant(schema, good, bad):
    prepared = prepare(schema)
    for value in good:
        jsonschema.validate(value, prepared)
        jsonschema.validate(value, schema)
    for value in bad:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, prepared)


@pytest.mark.parametrize(
    ("bounds", "good", "bad"),
    [
        ({"exclusiveMinimum": 0, "maximum": 0.5}, [0.5, 0.001], [0, 0.6]),
        ({"exclusiveMinimum": 1, "maximum": 1.5}, [1.2, 1.5], [1]),
        ({"exclusiveMinimum": 1, "exclusiveMaximum": 1.5, "minimum": 1.25}, [1.25], [1, 1.1, 1.5]),
        ({"minimum": -0.5, "exclusiveMaximum": 0}, [-0.5, -0.001], [0]),
        ({"exclusiveMinimum": 1e17, "maximum": 1e17 + 16}, [1e17 + 16], [1e17]),
    ],
)
def test_a_whole_number_that_is_an_exclusive_bound_is_out(compiler, tokenizer, bounds, good, bad):
    schema = {"type": "number", **bounds}
    for value in good:
        jsonschema.validate(value, prepare(schema))
    grammar = compiler.compile(StructuredOutputsParams(json=schema), 30)
    for value in bad:
        tokens = tokenizer.encode(str(value), False)
        assert grammar.validate([*tokens, min(tokenizer.eos_token_ids)]) <= len(tokens)


def test_objects_stay_open_where_that_is_wished():
    jsonschema.validate({"a": "", "c": 1}, prepare(A, closed=False))


def test_properties_keep_their_order_and_notes_go():
    schema = {
        "title": "T",
        "description": "D",
        "discriminator": {"propertyName": "x"},
        "properties": {"z": {"title": "Z", "default": 1}, "a": {"format": "password", "examples": [1]}},
    }
    prepared = prepare(schema)
    assert list(prepared["properties"]) == ["z", "a"]
    assert prepared["properties"] == {"z": {}, "a": {}}
    assert not {"title", "description", "discriminator"} & set(prepared)


def test_references_of_every_form_are_found():
    schema = {
        "$id": "http://example.org/tree",
        "definitions": {"a/b": {"type": "null"}, "n": {"$anchor": "here", "type": "integer"}},
        "properties": {
            "escaped": {"$ref": "#/definitions/a~1b"},
            "quoted": {"$ref": "#/definitions/a%7E1b"},
            "anchor": {"$ref": "#here"},
            "absolute": {"$ref": "http://example.org/tree#/definitions/n"},
            "place": {"$ref": "#/properties/anchor"},
            "self": {"$ref": "#"},
        },
    }
    prepared = prepare(schema)
    jsonschema.validate({"escaped": None, "quoted": None, "anchor": 1, "absolute": 2, "place": 3}, prepared)
    jsonschema.validate({"self": {"self": {"anchor": 1}}}, prepared)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"self": {"self": {"anchor": ""}}}, prepared)


COMPANY = {"if": "then", "then": "if", "else": "if", "minContains": "contains", "maxContains": "contains"}


@pytest.mark.parametrize("keyword", REFUSED)
def test_each_refused_keyword_is_named_with_its_path(keyword):
    node = {keyword: {"type": "null"}, **({COMPANY[keyword]: {"type": "null"}} if keyword in COMPANY else {})}
    with pytest.raises(InvalidRequestError) as error:
        prepare({"properties": {"x": {"items": node}}})
    assert error.value.parameter == "json"
    assert f"The schema's $.properties.x.items.{keyword} is not supported: {REFUSED[keyword]}." == str(error.value)


@pytest.mark.parametrize(
    "schema",
    [{"uniqueItems": False}, {"uniqueItems": True, "maxItems": 1}, {"not": False}, {"if": {"type": "null"}},
     {"then": {"type": "null"}}, {"minContains": 2}, {"dependentRequired": {}}, {"unevaluatedProperties": True}],
)  # fmt: skip
def test_keywords_that_say_nothing_are_let_through(schema):
    assert not set(prepare(schema)) - {"maxItems"}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "strin"}, r"\$\.type"),
        ({"type": [["object"]]}, r"\$\.type"),
        ({"properties": [1]}, r"\$\.properties"),
        ({"properties": {"x": 3}}, r"\$\.properties\.x"),
        ({"anyOf": {}}, r"\$\.anyOf"),
        ({"anyOf": [{}, {"items": 1}]}, r"\$\.anyOf\[1\]\.items"),
        ({"required": "a"}, r"\$\.required"),
        ({"required": [{}], "minProperties": 1}, r"\$\.required"),
        ({"enum": []}, r"\$"),
        ({"enum": list(range(MAX_ENUM_VALUES + 1))}, r"\$\.enum"),
        ({"properties": {str(number): {} for number in range(MAX_PROPERTIES + 1)}}, r"\$\.properties"),
        ({"maxItems": MAX_ITEMS + 1}, r"\$\.maxItems"),
        ({"minLength": -1}, r"\$\.minLength"),
        ({"minProperties": 2}, r"\$\.minProperties"),
        ({"minProperties": "2"}, r"\$\.minProperties"),
        ({"oneOf": [A, {**A, "required": ["a", "b"]}]}, r"\$\.oneOf"),
        ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, r"\$\.oneOf"),
        ({"$ref": "other.json"}, r"\$\.\$ref"),
        ({"$ref": "#/$defs/x/0"}, r"\$\.\$ref"),
        ({"items": {"$ref": 3}}, r"\$\.items\.\$ref"),
        (False, r"\$"),
        ({"not": {}}, r"\$"),
    ],
)
def test_what_is_malformed_is_named_with_its_path(schema, path):
    with pytest.raises(InvalidRequestError, match=f"schema's {path} "):
        prepare(schema)


def test_a_small_schema_cannot_ask_for_endless_work():
    definitions: dict = {"d30": {}}
    for i in range(30):
        part = {"$ref": f"#/$defs/d{i + 1}"}
        definitions[f"d{i}"] = {"oneOf": [{"anyOf": [part, part]}, {"anyOf": [part, part]}]}
    with pytest.raises(InvalidRequestError):
        prepare({"$defs": definitions, "$ref": "#/$defs/d0"})
