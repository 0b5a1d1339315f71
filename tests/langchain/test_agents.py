"""Agents of LangChain on a scripted engine: what the model says is fixed, what becomes of it is looked at."""

import json
from typing import Any

import pytest
from langchain.agents import create_agent  # noqa: TID251 - it is about agents
from langchain.agents.middleware import SummarizationMiddleware  # noqa: TID251 - the same
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import ToolException, tool
from pydantic import BaseModel

from langchain_vllm_local import ChatVLLMLocal

STREAM_MODES = ["values", "updates", "messages", "custom", "debug", "tasks", "checkpoints"]


class Weather(BaseModel):
    """What the weather is."""

    city: str
    degrees: int


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@tool
def get_weather(city: str) -> str:
    """Says what the weather is."""
    return f"12 degrees in {city}"


def fail(city: str) -> str:
    """Fails."""
    raise ToolException(f"nobody knows {city}")


def call(name, /, **arguments):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


@pytest.fixture
def agent(loader):
    """Makes an agent whose model answers by script."""

    def make(*script, tools=(add, get_weather), **arguments):
        loader.options = {"script": [[text[i : i + 5] for i in range(0, len(text), 5)] for text in script]}
        llm = ChatVLLMLocal()
        llm.warm_up()
        return create_agent(llm, list(tools), **arguments)

    return make


def ask(agent, question="hi"):
    return agent.invoke({"messages": [HumanMessage(question)]})


def told(state):
    return [(message.type, message.text) for message in state["messages"]]


def test_one_tool(agent):
    state = ask(agent(call("add", a=1, b=2), "It is 3."))
    assert told(state) == [("human", "hi"), ("ai", ""), ("tool", "3"), ("ai", "It is 3.")]


def test_several_tools_one_after_the_other(agent):
    state = ask(agent(call("add", a=1, b=2), f"Now this. {call('get_weather', city='Rome')}", "Fine."))
    assert [text for kind, text in told(state) if kind == "tool"] == ["3", "12 degrees in Rome"]
    assert told(state)[-1] == ("ai", "Fine.")


def test_parallel_calls(agent):
    state = ask(agent(call("add", a=1, b=2) + call("add", a=3, b=4), "3 and 7."))
    results = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    assert sorted(message.text for message in results) == ["3", "7"]
    assert {message.tool_call_id for message in results} == {one["id"] for one in state["messages"][1].tool_calls}


def test_a_tool_that_raises(agent, loader):
    failing = tool(fail)
    failing.handle_tool_error = True
    state = ask(agent(call("fail", city="Rome"), "Nobody knows.", tools=[failing]))
    result = state["messages"][2]
    assert (result.status, result.text) == ("error", "nobody knows Rome")
    assert loader.record.rendered[-1][0][-1]["content"] == "nobody knows Rome"


@pytest.mark.parametrize("tools", [(), (add, get_weather)], ids=["alone", "with tools"])
def test_an_answer_with_a_form(agent, loader, tools):
    script = [*([call("get_weather", city="Rome")] if tools else []), '{"city": "Rome", "degrees": 12}']
    state = ask(agent(*script, tools=tools, response_format=Weather))
    assert state["structured_response"] == Weather(city="Rome", degrees=12)
    # The provider's own way: on every turn a call or the form, and no tool that stands for the form.
    for submitted, (_, offered, _) in zip(loader.record.submitted, loader.record.rendered, strict=True):
        constraint = repr(submitted.params.structured_outputs.constraint)
        assert "'degrees'" in constraint
        assert ("get_weather" in constraint) == bool(tools)
        assert [one["function"]["name"] for one in offered or ()] == [one.name for one in tools]


@pytest.mark.parametrize("mode", STREAM_MODES)
async def test_every_stream_mode(agent, mode):
    script = [call("add", a=1, b=2), "It is 3."]
    adding = agent(*script, *script)
    question: Any = {"messages": [HumanMessage("hi")]}
    events = list(adding.stream(question, stream_mode=mode))
    asynchronous = [event async for event in adding.astream(question, stream_mode=mode)]
    assert len(asynchronous) == len(events)
    assert bool(events) == (mode not in ("custom", "checkpoints"))


def test_tokens_and_calls_stream(agent):
    script = ["<think>\nhm\n</think>\n\n" + call("add", a=1, b=2), "It is 3."]
    pieces = [
        message
        for message, _ in agent(*script).stream({"messages": [HumanMessage("hi")]}, stream_mode="messages")
        if isinstance(message, AIMessageChunk)
    ]
    assert "".join(piece.text for piece in pieces) == "It is 3."
    arguments = [one["args"] or "" for piece in pieces for one in piece.tool_call_chunks]
    assert (len(arguments) > 2, json.loads("".join(arguments))) == (True, {"a": 1, "b": 2})
    assert "".join(piece.additional_kwargs.get("reasoning_content", "") for piece in pieces) == "hm"


async def test_async(agent):
    state = await agent(call("add", a=1, b=2), "It is 3.").ainvoke({"messages": [HumanMessage("hi")]})
    assert told(state)[-1] == ("ai", "It is 3.")


def test_long_conversations_are_summed_up(loader):
    loader.options = {"max_model_len": 20_000}
    llm = ChatVLLMLocal()
    llm.warm_up()
    summing = SummarizationMiddleware(llm, trigger=("fraction", 0.05), keep=("messages", 1))
    agent = create_agent(llm, [], middleware=[summing])
    ask(agent, "short")
    assert len(loader.record.submitted) == 1
    long = "long " * 1000
    state = agent.invoke({"messages": [HumanMessage(long), HumanMessage("And?")]})
    assert len(loader.record.submitted) == 3
    assert long not in state["messages"][0].text
    assert "summary" in state["messages"][0].text
