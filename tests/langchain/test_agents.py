"""Agents of LangChain on each way to run a model: what it says is scripted, all else is real."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
from langchain.agents import create_agent  # noqa: TID251 - it is about agents
from langchain.agents.middleware import SummarizationMiddleware  # noqa: TID251 - the same
from langchain.tools import ToolRuntime  # noqa: TID251 - the same
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import StreamMode
from pydantic import BaseModel

from langchain_vllm_local import ChatVLLMLocal, _backends, _server_choice
from tests.langchain.scripted_model import call, script, scripted_engine, scripted_server

pytestmark = pytest.mark.enable_socket

STREAM_MODES = get_args(StreamMode)
CONTEXT = 4096
THINKING: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": True}}


class Weather(BaseModel):
    """What the weather is."""

    city: str
    degrees: int


@tool
def add(a: int, b: int, runtime: ToolRuntime) -> int:
    """Adds."""
    runtime.stream_writer(f"adding {a} and {b}")
    return a + b


@tool
def get_weather(city: str) -> str:
    """Says what the weather is."""
    return f"12 degrees in {city}"


@tool
def fail(city: str) -> str:
    """Fails."""
    raise ToolException(f"nobody knows {city}")


@tool
def stumble(city: str) -> str:
    """Fails as programs do."""
    raise KeyError(city)


fail.handle_tool_error = True
ROME = '{"city": "Rome", "degrees": 12}'


@dataclass(frozen=True)
class Scene:
    """What a model says, and the messages that come of it."""

    turns: Sequence[str]
    told: Sequence[tuple[str, str]]
    tools: Sequence[Any] = (add, get_weather)
    arguments: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()  # what tools write to the stream themselves


ADDED = [("ai", ""), ("tool", "3")]
NOTES = ["adding 1 and 2", "adding 3 and 4"]
SCENES = {
    "no tool": Scene(["Hello."], [("ai", "Hello.")]),
    "one tool": Scene(
        [call("add", a=1, b=2), "It is 3."], [*ADDED, ("ai", "It is 3.")], tools=[add], notes=["adding 1 and 2"]
    ),
    "several": Scene(
        [call("add", a=1, b=2), f"Now this.\n{call('get_weather', city='Rome')}", "Fine."],
        [*ADDED, ("ai", "Now this.\n"), ("tool", "12 degrees in Rome"), ("ai", "Fine.")],
        notes=NOTES[:1],
    ),
    "parallel": Scene(
        [f"{call('add', a=1, b=2)}\n{call('get_weather', city='Bari')}\n{call('add', a=3, b=4)}", "So be it."],
        [*ADDED, ("tool", "12 degrees in Bari"), ("tool", "7"), ("ai", "So be it.")],
        notes=NOTES,
    ),
    "raises": Scene(
        [call("fail", city="Rome"), "Nobody does."],
        [("ai", ""), ("tool", "nobody knows Rome"), ("ai", "Nobody does.")],
        tools=[fail],
    ),
    "form": Scene([ROME], [("ai", ROME)], tools=[], arguments={"response_format": Weather}),
    "tools and form": Scene(
        [call("get_weather", city="Rome"), ROME],
        [("ai", ""), ("tool", "12 degrees in Rome"), ("ai", ROME)],
        arguments={"response_format": Weather},
    ),
}


class Asked(BaseCallbackHandler):
    """Notes what the model is asked for."""

    def __init__(self):
        self.parameters = []

    def on_chat_model_start(self, serialized, messages, **kwargs):
        self.parameters.append(kwargs["invocation_params"])


@pytest.fixture(scope="module")
def places():
    """Makes chat models, by the way they run; one server for two of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_backends, "load_engine", scripted_engine)
        patch.setattr(_backends, "_REGISTRIES", {})
        patch.setattr(_server_choice, "own_server", scripted_server)
        server = ChatVLLMLocal(backend="server")

        def attached(**fields):
            return ChatVLLMLocal(base_url=server.server.base_url, api_key=server.server.api_key, **fields)

        yield {
            "engine": ChatVLLMLocal,
            "server": lambda **fields: ChatVLLMLocal(backend="server", **fields),
            "base_url": attached,
        }
        server.shutdown()
        ChatVLLMLocal().shutdown()


@pytest.fixture(params=["engine", "server", "base_url"])
def make(places, request):
    """Makes a chat model that is ready."""

    def make_model(**fields):
        llm = places[request.param](**fields)
        llm.warm_up()
        return llm

    return make_model


@pytest.fixture
def agent(make):
    def make_agent(scene, **fields):
        return create_agent(make(**fields), list(scene.tools), checkpointer=InMemorySaver(), **scene.arguments)

    return make_agent


def question(*turns) -> Any:
    return {"messages": [HumanMessage(script(*turns))]}


def thread(name) -> Any:
    return {"configurable": {"thread_id": name}}


def told(state):
    return [(message.type, message.text) for message in state["messages"][1:]]


def check(state, scene):
    """The messages are the scene's, results belong to their calls, and the form, where there is one, was met."""
    assert told(state) == scene.told
    calls = [one["id"] for message in state["messages"] if isinstance(message, AIMessage) for one in message.tool_calls]
    assert [one.tool_call_id for one in state["messages"] if isinstance(one, ToolMessage)] == calls
    assert len(set(calls)) == len(calls)
    if "response_format" in scene.arguments:
        assert state["structured_response"] == Weather(city="Rome", degrees=12)


@pytest.mark.parametrize("name", SCENES)
async def test_an_agent_runs_its_loop(agent, name):
    scene = SCENES[name]
    played = agent(scene)
    check(played.invoke(question(*scene.turns), thread("sync")), scene)
    check(await played.ainvoke(question(*scene.turns), thread("async")), scene)


@pytest.mark.parametrize("name", SCENES)
async def test_every_stream_mode(agent, name):
    scene = SCENES[name]
    played, asked, modes = agent(scene), question(*scene.turns), list(STREAM_MODES)
    check_events(list(played.stream(asked, thread("sync"), stream_mode=modes)), scene)
    check_events([event async for event in played.astream(asked, thread("async"), stream_mode=modes)], scene)


def added_up(messages):
    """Returns the answers that a stream's chunks are pieces of."""
    answers: dict[Any, AIMessageChunk] = {}
    for piece in messages:
        if isinstance(piece, AIMessageChunk):
            answers[piece.id] = answers[piece.id] + piece if piece.id in answers else piece
    return list(answers.values())


def check_events(events, scene):
    by_mode: dict[str, list] = {mode: [data for kind, data in events if kind == mode] for mode in STREAM_MODES}
    state = by_mode["values"][-1]
    check(state, scene)
    num_results = sum(kind == "tool" for kind, _ in scene.told)
    assert [sum(name in update for update in by_mode["updates"]) for name in ("model", "tools")] == [
        len(scene.turns),
        num_results,
    ]
    assert sorted(by_mode["custom"]) == list(scene.notes)
    for mode in ("checkpoints", "tasks", "debug"):
        assert len(by_mode[mode]) > len(scene.turns)
    given = [message for message in state["messages"] if isinstance(message, AIMessage)]
    streamed = added_up(message for message, _ in by_mode["messages"])
    assert [(one.text, one.tool_calls) for one in streamed] == [(one.text, one.tool_calls) for one in given]


@pytest.mark.parametrize("mode", STREAM_MODES)
def test_a_stream_mode_alone(agent, mode):
    scene = SCENES["one tool"]
    assert list(agent(scene).stream(question(*scene.turns), thread("one"), stream_mode=mode))


def test_calls_and_thoughts_stream_as_blocks(agent):
    scene = Scene([f"Hm.\n</think>\n\nSo: {call('add', a=1, b=2)}", "Well.\n</think>\n\n3."], [])
    thinking = agent(scene, output_version="v1", **THINKING)
    pieces = [piece for piece, _ in thinking.stream(question(*scene.turns), thread("one"), stream_mode="messages")]
    first, second = added_up(pieces)
    assert [block["type"] for block in first.content_blocks] == ["reasoning", "text", "tool_call"]
    assert [block["type"] for block in second.content_blocks] == ["reasoning", "text"]
    assert (first.content_blocks[0]["reasoning"], first.content_blocks[2]["args"]) == ("Hm.", {"a": 1, "b": 2})
    kinds = [block["type"] for piece in pieces if isinstance(piece, AIMessageChunk) for block in piece.content_blocks]
    assert kinds.count("tool_call_chunk") >= 2  # its name, and its arguments in as many pieces as there was time for
    for answer in (first, second):
        assert answer.usage_metadata is not None
        assert 0 < answer.usage_metadata["output_token_details"]["reasoning"] < answer.usage_metadata["output_tokens"]


def test_thoughts_are_told_from_answers(make):
    answer = make(**THINKING).invoke([HumanMessage(script("Hm.\n</think>\n\nThree."))])
    assert (answer.additional_kwargs["reasoning_content"], answer.text) == ("Hm.", "Three.")


def test_a_call_that_is_cut_off_is_not_run(make):
    turn, begun = call("get_weather", city="Rome"), 0
    said, num_tokens = script(turn), len(make().get_token_ids(turn))
    for max_tokens in range(num_tokens - 14, num_tokens - 5, 2):  # too few for any call
        bound = make(max_tokens=max_tokens).bind_tools([get_weather], tool_choice="get_weather")
        whole, (streamed,) = bound.invoke(said), added_up(bound.stream(said))
        assert streamed.tool_calls == whole.tool_calls == []
        names = [one["name"] for one in whole.invalid_tool_calls]
        assert [one["name"] for one in streamed.invalid_tool_calls] == names
        assert whole.response_metadata["finish_reason"] == "length"
        begun += len(names)
    assert begun


def test_the_profile_chooses_the_form_beside_tools(make):
    scene = SCENES["tools and form"]
    llm, asked = make(), Asked()
    assert llm.profile["structured_output"] is True
    played = create_agent(llm, list(scene.tools), response_format=Weather)
    check(played.invoke(question(*scene.turns), {"callbacks": [asked]}), scene)
    assert [set(parameters) >= {"tools", "response_format"} for parameters in asked.parameters] == [True, True]
    # Without it, an agent offers one more tool, which is to stand for the form.
    other, noted = make(profile={"structured_output": False}), Asked()
    turns = [call("get_weather", city="Rome"), call("Weather", city="Rome", degrees=12)]
    state = create_agent(other, list(scene.tools), response_format=Weather).invoke(
        question(*turns), {"callbacks": [noted]}
    )
    assert state["structured_response"] == Weather(city="Rome", degrees=12)
    assert [one["function"]["name"] for one in noted.parameters[0]["tools"]][-1] == "Weather"
    assert "response_format" not in noted.parameters[0]


def test_an_error_of_a_tool_is_the_callers(agent):
    scene = Scene([call("stumble", city="Rome"), "Fine."], [], tools=[stumble])
    with pytest.raises(KeyError, match="Rome"):
        agent(scene).invoke(question(*scene.turns), thread("one"))
    fine = SCENES["one tool"]
    check(agent(fine).invoke(question(*fine.turns), thread("two")), fine)


def test_a_long_conversation_is_summed_up_by_a_fraction_of_the_context(make):
    llm, asked = make(), Asked()
    assert llm.profile["max_input_tokens"] == CONTEXT
    middleware = SummarizationMiddleware(llm, trigger=("fraction", 0.25), keep=("messages", 1))
    summing = create_agent(llm, [add], middleware=[middleware])
    short: Any = {"messages": [HumanMessage(script("Said.")), AIMessage("Fine."), HumanMessage(script("Yes."))]}
    assert told(summing.invoke(short))[-1] == ("ai", "Yes.")
    story = f"{'they ' * 1000}{script('It was long.')}"
    long: Any = {"messages": [HumanMessage(story), HumanMessage(script("Yes."))]}
    state: Any
    for mode in STREAM_MODES:
        *_, (_, state) = summing.stream(long, {"callbacks": [asked]}, stream_mode=[mode, "values"])
        first, *_, last = state["messages"]
        assert "It was long." in first.text
        assert "they they" not in first.text
        assert last.text == "Yes."
    assert len(asked.parameters) == 2 * len(STREAM_MODES)
