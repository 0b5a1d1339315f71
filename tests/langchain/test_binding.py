import dataclasses
import json
from typing import Any

import pytest
from langchain_core.exceptions import ModelInvalidRequestError, OutputParserException
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_vllm_local import ChatVLLMLocal
from vllm_local.errors import InvalidRequestError


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int = 1


ADA = '{"name": "Ada", "age": 36}'
METHODS = ["json_schema", "function_calling", "json_mode"]
NAMED = {"type": "function", "function": {"name": "add"}}


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def sub(a: int, b: int) -> int:
    """Subtracts."""
    return a - b


def call(name, /, **arguments):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def say(loader, text, size=4):
    """Has the next engine answer with a text."""
    loader.options = {"reply": [text[i : i + size] for i in range(0, len(text), size)]}


def constraint(loader):
    return loader.record.submitted[-1].params.structured_outputs.constraint


# ── bind_tools ──


@pytest.mark.parametrize(
    ("choice", "bound"),
    [("any", "required"), (True, "required"), ("auto", "auto"), ("add", NAMED), (NAMED, NAMED), ("none", "none")],
)
def test_choices_are_bound_in_openais_words(llm, choice, bound):
    kwargs = llm.bind_tools([add, sub], tool_choice=choice).kwargs
    assert kwargs["tool_choice"] == bound
    assert [tool["function"]["name"] for tool in kwargs["tools"]] == ["add", "sub"]


def test_what_is_not_said_is_not_bound(llm):
    assert set(llm.bind_tools([add]).kwargs) == {"tools"}
    assert llm.bind_tools([]).kwargs == {}
    assert set(llm.bind_tools([], response_format=Person).kwargs) == {"response_format"}
    assert llm.bind_tools([add], parallel_tool_calls=False, temperature=0).kwargs.keys() >= {"parallel_tool_calls"}


def test_strict_reaches_tools_and_forms(llm):
    kwargs = llm.bind_tools([add], strict=True, response_format=Person).kwargs
    assert kwargs["tools"][0]["function"]["strict"] is True
    assert kwargs["response_format"]["json_schema"]["strict"] is True
    assert kwargs["response_format"]["json_schema"]["schema"]["required"] == ["name", "age"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"tools": [3]}, "tools cannot be converted"),
        ({"tools": [add], "tool_choice": "sub"}, "tool_choice='sub'"),
        ({"tools": [add], "temprature": 1}, "'temperature'"),
        ({"tools": [add], "response_format": 3}, "schema"),
    ],
)
def test_mistakes_are_told_when_binding(llm, arguments, problem):
    with pytest.raises(ModelInvalidRequestError, match=problem):
        llm.bind_tools(**arguments)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [({"tools": [], "tool_choice": "any"}, "has no tools"), ({"tools": [add, add]}, "'add'")],
)
def test_and_what_is_at_odds_when_calling(llm, arguments, problem):
    bound = llm.bind_tools(**arguments)
    with pytest.raises(ModelInvalidRequestError, match=problem):
        bound.invoke("hi")


async def test_a_call_in_every_way(loader):
    say(loader, f"Well. {call('add', a=1, b=2)}{call('sub', a=3, b=4)}")
    bound: Any = ChatVLLMLocal().bind_tools([add, sub])
    expected = [("add", {"a": 1, "b": 2}), ("sub", {"a": 3, "b": 4})]
    whole: Any = None
    for chunk in bound.stream("hi"):
        whole = chunk if whole is None else whole + chunk
    later: Any = None
    async for chunk in bound.astream("hi"):
        later = chunk if later is None else later + chunk
    for message in (bound.invoke("hi"), await bound.ainvoke("hi"), whole, later, bound.batch(["hi"] * 3)[2]):
        assert [(one["name"], one["args"]) for one in message.tool_calls] == expected
        assert message.response_metadata["finish_reason"] == "tool_calls"
        assert message.text.strip() == "Well."


def test_calls_are_read_only_where_there_are_tools(loader):
    say(loader, call("add", a=1, b=2))
    llm = ChatVLLMLocal()
    for message in (llm.invoke("hi"), llm.bind_tools([add], tool_choice="none").invoke("hi")):
        assert (message.tool_calls, message.text) == ([], call("add", a=1, b=2))


def test_the_grammar_is_asked_for(loader, llm):
    llm.bind_tools([add], tool_choice="add").invoke("hi")
    assert "add" in repr(constraint(loader))
    llm.invoke("hi")
    assert loader.record.submitted[-1].params.structured_outputs is None
    llm.bind_tools([add], response_format=Person).invoke("hi")
    assert "add" in repr(constraint(loader))
    assert "'name': {'title': 'Name'" in repr(constraint(loader))


# ── with_structured_output ──


def answered(method):
    return call("Person", name="Ada", age=36) if method == "function_calling" else ADA


@pytest.mark.parametrize("method", METHODS)
async def test_objects_in_every_way(loader, method):
    say(loader, answered(method))
    chain: Any = ChatVLLMLocal().with_structured_output(Person, method=method)
    ada = Person(name="Ada", age=36)
    assert chain.invoke("hi") == await chain.ainvoke("hi") == ada
    assert list(chain.stream("hi"))[-1] == ada
    assert [item async for item in chain.astream("hi")][-1] == ada
    assert chain.batch(["hi"] * 3) == [ada] * 3


@pytest.mark.parametrize("method", METHODS)
def test_dicts(loader, method):
    say(loader, answered(method))
    schema = Person.model_json_schema()
    assert ChatVLLMLocal().with_structured_output(schema, method=method).invoke("hi") == json.loads(ADA)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strict", [None, True, False])
def test_the_schema_is_the_grammar(loader, llm, method, strict):
    llm.with_structured_output(Person, method=method, strict=strict, include_raw=True).invoke("hi")
    required = "'required': ['name', 'age']" if strict else "'required': ['name']"
    assert required in repr(constraint(loader))
    assert "Person" in repr(constraint(loader))


def test_json_mode_without_a_schema(loader):
    say(loader, '{"a": [1]}')
    assert ChatVLLMLocal().with_structured_output(method="json_mode").invoke("hi") == {"a": [1]}
    assert "'type': 'object'" in repr(constraint(loader))


@pytest.mark.parametrize("method", METHODS)
def test_raw_answers_come_along(loader, method):
    say(loader, answered(method))
    both = ChatVLLMLocal().with_structured_output(Person, method=method, include_raw=True).invoke("hi")
    assert (both["parsed"], both["parsing_error"]) == (Person(name="Ada", age=36), None)
    assert both["raw"].usage_metadata


class PersonV1(BaseModelV1):
    """Somebody."""

    name: str
    age: int = 1


@dataclasses.dataclass
class PersonRecord:
    """Somebody."""

    name: str
    age: int = 1


class PersonDict(TypedDict):
    """Somebody."""

    name: str
    age: int


KINDS: dict[str, Any] = {
    "Pydantic": Person,
    "Pydantic 1": PersonV1,
    "dataclass": PersonRecord,
    "TypedDict": PersonDict,
    "JSON schema": {"title": "Person", **Person.model_json_schema()},
}


@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_by_every_method(loader, kind, method, strict):
    schema = KINDS[kind]
    name = schema.__name__ if isinstance(schema, type) else "Person"
    say(loader, call(name, name="Ada", age=36) if method == "function_calling" else ADA)
    ada = schema(name="Ada", age=36) if isinstance(schema, type) else json.loads(ADA)
    chain = ChatVLLMLocal().with_structured_output(schema, method=method, strict=strict)
    assert chain.invoke("hi") == list(chain.stream("hi"))[-1] == ada
    raw = ChatVLLMLocal().with_structured_output(schema, method=method, strict=strict, include_raw=True)
    both = raw.invoke("hi")
    assert (both["parsed"], both["parsing_error"]) == (ada, None)
    assert isinstance(both["raw"], AIMessage)
    assert [item["parsed"] for item in raw.stream("hi") if "parsed" in item][-1] == ada
    closed = "'additionalProperties': False" in repr(constraint(loader))
    assert closed == (strict is True)


@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_fit_is_an_error(loader, method):
    say(loader, "no")
    llm = ChatVLLMLocal()
    with pytest.raises(OutputParserException, match="'no'"):
        llm.with_structured_output(Person, method=method).invoke("hi")
    both = llm.with_structured_output(Person, method=method, include_raw=True).invoke("hi")
    assert both["parsed"] is None
    assert isinstance(both["parsing_error"], OutputParserException)


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_that_was_cut_off_is_an_error(loader, method):
    say(loader, answered(method), size=3)
    chain = ChatVLLMLocal(max_tokens=12 if method == "function_calling" else 6).with_structured_output(
        Person, method=method
    )
    with pytest.raises(OutputParserException):
        chain.invoke("hi")
    with pytest.raises(OutputParserException):
        list(chain.stream("hi"))


@pytest.mark.parametrize("method", METHODS)
def test_tracers_see_the_schema(llm, method):
    bound: Any = llm.with_structured_output(Person, method=method).first
    assert bound.kwargs["ls_structured_output_format"]["schema"] is Person
    assert bound.kwargs["ls_structured_output_format"]["kwargs"]["method"] == method


def test_mistakes_are_told_when_made(llm):
    with pytest.raises(InvalidRequestError, match="method='yaml'"):
        llm.with_structured_output(Person, method="yaml")
    with pytest.raises(InvalidRequestError, match="needs a schema"):
        llm.with_structured_output()
    with pytest.raises(InvalidRequestError, match="'temperature'"):
        llm.with_structured_output(Person, temprature=1)


def test_further_parameters_go_along(loader, llm):
    llm.with_structured_output(Person, include_raw=True, max_tokens=3).invoke("hi")
    assert loader.record.submitted[-1].params.max_tokens == 3


def test_forms_without_with_structured_output(loader, llm):
    llm.invoke([HumanMessage("hi")], response_format=Person)
    assert "Person" in repr(constraint(loader))
    llm.invoke("hi", extra_body={"guided_choice": ["yes", "no"]})
    assert "yes" in repr(constraint(loader))
    llm.bind(structured_outputs={"regex": "a+"}).invoke("hi")
    assert "a+" in repr(constraint(loader))
