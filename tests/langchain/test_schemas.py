import dataclasses
from typing import Annotated, Any

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_vllm_local._schemas import answer_schema, closed_schema, response_format_of
from vllm_local.errors import InvalidRequestError


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int | None = None


class PersonV1(BaseModelV1):
    """Somebody."""

    name: str
    age: int = 3


@dataclasses.dataclass
class PersonRecord:
    """Somebody."""

    name: str
    age: int = 3


class PersonDict(TypedDict):
    """Somebody."""

    name: Annotated[str, ..., "what they are called"]


class Node(BaseModel):
    value: int
    kids: list["Node"] = Field(default_factory=list)


JSON = {"title": "Person", "description": "Somebody.", "type": "object", "properties": {"name": {"type": "string"}}}
FUNCTION = {"name": "Person", "description": "Somebody.", "parameters": {"type": "object", "properties": {"name": {}}}}

# schema, and what {"name": "Ada"} becomes.
KINDS: dict[str, tuple[Any, Any]] = {
    "pydantic": (Person, Person(name="Ada")),
    "pydantic v1": (PersonV1, PersonV1(name="Ada")),
    "dataclass": (PersonRecord, PersonRecord("Ada")),
    "typeddict": (PersonDict, {"name": "Ada"}),
    "json schema": (JSON, {"name": "Ada"}),
    "function": (FUNCTION, {"name": "Ada"}),
    "tool": ({"type": "function", "function": FUNCTION}, {"name": "Ada"}),
    "anthropic's tool": ({"name": "Person", "description": "Somebody.", "input_schema": JSON}, {"name": "Ada"}),
    "openai's format": (
        {
            "type": "json_schema",
            "json_schema": {"name": "Person", "description": "Somebody.", "schema": JSON, "strict": True},
        },
        {"name": "Ada"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_schema(kind):
    schema, expected = KINDS[kind]
    read = answer_schema(schema)
    assert (read.name, read.description) == ("Person" + kind_suffix(schema), "Somebody.")
    assert "name" in read.json_schema["properties"]
    assert read.read({"name": "Ada"}) == expected
    assert read.is_class == (not isinstance(expected, dict))
    assert read.is_strict is (True if kind == "openai's format" else None)


def kind_suffix(schema):
    return schema.__name__.removeprefix("Person") if isinstance(schema, type) else ""


@pytest.mark.parametrize("kind", ["pydantic", "pydantic v1", "dataclass", "json schema"])
def test_what_does_not_fit_is_a_value_error(kind):
    with pytest.raises(ValueError, match="name"):
        answer_schema(KINDS[kind][0]).read({"name": []})


def test_tools_and_functions_are_schemas_too():
    @tool
    def greet(name: str) -> str:
        """Greets."""
        return name

    assert answer_schema(greet).name == "greet"


def test_recursion_is_kept():
    assert answer_schema(Node).json_schema["$defs"]["Node"]["properties"]["kids"]["items"] == {"$ref": "#/$defs/Node"}


def test_a_schema_without_a_name_is_an_answer():
    assert answer_schema({"type": "array"}).name == "answer"
    assert answer_schema({"title": "Größe (cm)", "type": "object"}).name == "Gr_e_cm"
    anything = answer_schema(None)
    assert anything.json_schema == {"type": "object"}


def test_the_two_ways_to_ask_for_it():
    described = {"name": "Person", "description": "Somebody."}
    read = answer_schema(JSON)
    assert read.response_format() == {"type": "json_schema", "json_schema": {**described, "schema": JSON}}
    assert read.tool() == {"type": "function", "function": {**described, "parameters": JSON}}
    assert answer_schema(JSON, strict=False).tool()["function"]["strict"] is False


def test_strict_closes_objects_and_requires_all():
    closed = answer_schema(Node, strict=True)
    node = closed.json_schema["$defs"]["Node"]
    assert (node["required"], node["additionalProperties"]) == (["value", "kids"], False)
    assert closed.response_format()["json_schema"]["strict"] is True
    given: dict[str, Any] = {"anyOf": [{"properties": {"a": {"items": {"properties": {"b": {}}}}}}]}
    assert closed_schema(given)["anyOf"][0]["properties"]["a"]["items"]["required"] == ["b"]
    assert given == {"anyOf": [{"properties": {"a": {"items": {"properties": {"b": {}}}}}}]}


def test_openais_dicts_are_kept():
    for given in ({"type": "json_object"}, {"type": "text"}, KINDS["openai's format"][0]):
        assert response_format_of(given) == given
    assert response_format_of(Person)["json_schema"]["name"] == "Person"


@pytest.mark.parametrize("schema", [3, "Person", [Person]])
def test_what_is_no_schema(schema):
    with pytest.raises(InvalidRequestError, match="cannot be read as a schema"):
        answer_schema(schema)
