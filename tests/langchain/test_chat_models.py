import asyncio
import inspect
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField, RunnableConfig, RunnableLambda

from langchain_vllm_local import ChatVLLMLocal
from vllm_local.errors import ContextLengthError, InvalidRequestError, UnsupportedInputError

ANSWER = "Io amo programmare."


async def collect(iterator):
    return [item async for item in iterator]


# ── Every way to ask ──


async def test_invoke_and_its_kin(llm):
    assert llm.invoke("hi").content == ANSWER
    assert (await llm.ainvoke("hi")).content == ANSWER
    assert llm.generate([[HumanMessage("hi")]]).generations[0][0].text == ANSWER
    assert (await llm.agenerate([[HumanMessage("hi")]])).generations[0][0].text == ANSWER
    assert [message.content for message in llm.batch(["a", "b"])] == [ANSWER] * 2
    assert [message.content for message in await llm.abatch(["a", "b"])] == [ANSWER] * 2
    assert sorted((i, message.content) for i, message in llm.batch_as_completed(["a", "b"])) == [
        (0, ANSWER),
        (1, ANSWER),
    ]
    completed = [(i, message.content) async for i, message in llm.abatch_as_completed(["a", "b"])]
    assert sorted(completed) == [(0, ANSWER), (1, ANSWER)]


async def test_streams(llm):
    for chunks in (list(llm.stream("hi")), await collect(llm.astream("hi"))):
        assert [chunk.content for chunk in chunks] == ["Io", " amo", " programmare", ".", ""]
        assert [chunk.chunk_position for chunk in chunks] == [None] * 4 + ["last"]
        total: Any = sum(chunks[1:], chunks[0])
        assert isinstance(total, AIMessageChunk)
        assert total.response_metadata["model_name"] == "vllm-local-starter"
        assert total.response_metadata["model_provider"] == "vllm_local"
        assert total.response_metadata["finish_reason"] == "stop"
        usage: Any = total.usage_metadata
        assert usage["output_tokens"] == 4
        assert usage["input_token_details"] == {"cache_read": 3}


async def test_invoke_and_stream_say_the_same(llm):
    message, chunks = llm.invoke("hi"), list(llm.stream("hi"))
    total = sum(chunks[1:], chunks[0])
    for metadata in (message.response_metadata, total.response_metadata):
        metadata.pop("id")
    assert total.response_metadata | {"logprobs": None} == message.response_metadata
    assert total.usage_metadata == message.usage_metadata
    assert total.content == message.content


async def test_events(llm):
    events = await collect(llm.astream_events("hi", version="v2"))
    tokens = [event["data"]["chunk"].content for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(tokens) == ANSWER
    assert events[-1]["event"] == "on_chat_model_end"


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_v3_events(llm):
    stream: Any = llm.stream_events("hi", version="v3")
    assert "".join(stream.text) == ANSWER
    assert stream.output.response_metadata["model_name"] == "vllm-local-starter"
    assert stream.output.usage_metadata["output_tokens"] == 4
    stream = await llm.astream_events("hi", version="v3")
    assert "".join([piece async for piece in stream.text]) == ANSWER


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_v3_events_call_token_handlers_once(llm):
    class Tokens(BaseCallbackHandler):
        def __init__(self):
            self.tokens = []

        def on_llm_new_token(self, token, **kwargs):
            self.tokens.append(token)

    async def v3(config):
        stream: Any = await llm.astream_events("hi", config, version="v3")
        return await collect(stream.text)

    for ask in (
        lambda config: list(llm.stream_events("hi", config, version="v3").text),
        lambda config: list(llm.stream("hi", config)),
        v3,
        lambda config: collect(llm.astream("hi", config)),
    ):
        handler = Tokens()
        answered = ask({"callbacks": [handler]})
        if inspect.isawaitable(answered):
            await answered
        assert "".join(handler.tokens) == ANSWER


def test_calling_the_model(llm):
    message = llm([SystemMessage("Translate."), HumanMessage("I love programming.")])
    assert isinstance(message, AIMessage)
    assert message.content == ANSWER
    assert llm([HumanMessage("hi")], stop=[" programmare"]).content == "Io amo"
    assert llm([HumanMessage("hi")], max_tokens=1).content == "Io"


async def test_messages_carry_their_runs_id(llm):
    assert llm.invoke("hi").id.startswith("lc_run-")
    assert len({chunk.id for chunk in llm.stream("hi")}) == 1


def test_chains(llm):
    chain = ChatPromptTemplate([("human", "{text}")]) | llm | StrOutputParser()
    assert chain.invoke({"text": "hi"}) == ANSWER
    assert "".join(chain.stream({"text": "hi"})) == ANSWER
    assert chain.batch([{"text": "a"}, {"text": "b"}]) == [ANSWER, ANSWER]


def test_sync_calls_inside_a_running_loop(llm):
    async def cell():
        return (
            llm.invoke("hi").content,
            "".join(chunk.text for chunk in llm.stream("hi")),
            len(llm.batch(["a", "b"])),
        )

    assert asyncio.run(cell()) == (ANSWER, ANSWER, 2)


# ── Parameters ──


@pytest.mark.parametrize("way", ["invoke", "stream", "batch", "bind"])
def test_unknown_keywords_are_errors(llm, way):
    ask = {
        "invoke": lambda: llm.invoke("hi", max_token=5),
        "stream": lambda: list(llm.stream("hi", max_token=5)),
        "batch": lambda: llm.batch(["hi", "ho"], max_token=5),
        "bind": lambda: llm.bind(max_token=5),
    }
    with pytest.raises(InvalidRequestError, match="Did you mean 'max_tokens'"):
        ask[way]()


def test_bound_parameters(llm):
    assert llm.bind(max_tokens=2).invoke("hi").content == "Io amo"
    assert llm.bind(stop=[" prog"]).invoke("hi").content == "Io amo"
    assert llm.bind(max_tokens=2).bind(stop=[" amo"]).invoke("hi").content == "Io"


def test_stop_from_both_places(loader):
    llm = ChatVLLMLocal(stop=["Io"])
    assert llm.invoke("hi").content == ""
    assert llm.invoke("hi", stop=[" amo"]).content == "Io"
    assert llm.invoke("hi", stop=[]).content == ANSWER
    assert "".join(chunk.text for chunk in ChatVLLMLocal(stop=" prog").stream("hi")) == "Io amo"


def test_parameters_reach_the_engine(loader):
    llm = ChatVLLMLocal(
        temperature=0.5, top_k=6, min_p=0.1, seed=3, cache_salt="s", priority=1, extra_body={"top_k": 7}
    )
    llm.invoke("hi", presence_penalty=0.5, priority=4)
    (submitted,) = loader.record.submitted
    params = submitted.params
    assert (params.temperature, params.top_k, params.min_p, params.seed) == (0.5, 7, 0.1, 3)
    assert (params.presence_penalty, submitted.priority, submitted.cache_salt) == (0.5, 4, "s")
    assert params.max_tokens is None


def test_n_answers(loader):
    llm = ChatVLLMLocal(n=3, temperature=1)
    assert len(llm.generate([[HumanMessage("a")], [HumanMessage("b")]]).generations[0]) == 3
    assert llm.invoke("hi").response_metadata["model_name"] == "vllm-local-starter"
    with pytest.raises(InvalidRequestError, match="a stream has one answer"):
        list(llm.stream("hi"))


@pytest.mark.parametrize("place", ["constructor", "call"])
async def test_n_answers_while_somebody_listens(loader, place):
    settings: Any = {"constructor": ({"n": 2}, {}), "call": ({}, {"n": 2})}
    of_constructor, of_call = settings[place]
    llm = ChatVLLMLocal(temperature=1, **of_constructor)

    async def node(text, config: RunnableConfig):
        result = await llm.agenerate([[HumanMessage(text)]], callbacks=config.get("callbacks"), **of_call)
        return [generation.text for generation in result.generations[0]]

    events = await collect(RunnableLambda(node).astream_events("hi", version="v2"))
    assert events[-1]["data"]["output"] == [ANSWER] * 2
    with pytest.raises(InvalidRequestError, match="a stream has one answer"):
        llm.invoke("hi", stream=True, **of_call)


def test_logprobs(loader):
    llm = ChatVLLMLocal(logprobs=True, top_logprobs=2)
    content = llm.invoke("hi").response_metadata["logprobs"]["content"]
    assert [item["token"] for item in content] == ["Io", " amo", " programmare", "."]
    assert [item["token"] for item in content[0]["top_logprobs"]] == ["Io", "alt0"]
    chunks = list(llm.stream("hi"))
    assert sum(chunks[1:], chunks[0]).response_metadata["logprobs"]["content"] == content


def test_a_call_may_name_another_model(loader):
    llm = ChatVLLMLocal(model="a/b")
    assert llm.invoke("hi").response_metadata["model_name"] == "a/b"
    assert llm.invoke("hi", model="c/d").response_metadata["model_name"] == "c/d"
    assert [engine.config.engine.model for engine in loader.engines] == ["a/b", "c/d"]


@pytest.mark.parametrize(("streaming", "num_tokens"), [(None, 0), (True, 4), (False, 0)])
def test_streaming_inside_invoke(loader, streaming, num_tokens):
    class Tokens(BaseCallbackHandler):
        count = 0

        def on_llm_new_token(self, token, **kwargs):
            self.count += bool(token)

    handler = Tokens()
    ChatVLLMLocal(streaming=streaming).invoke("hi", {"callbacks": [handler]})
    assert handler.count == num_tokens


def test_streams_obey_their_switches(loader):
    assert len(list(ChatVLLMLocal(streaming=False).stream("hi"))) == 1
    assert len(list(ChatVLLMLocal(disable_streaming=True).stream("hi"))) == 1
    assert len(list(ChatVLLMLocal(disable_streaming="tool_calling").stream("hi"))) == 5
    assert all(chunk.usage_metadata is None for chunk in ChatVLLMLocal(stream_usage=False).stream("hi"))


def test_configurable_fields_still_stream(loader):
    llm = ChatVLLMLocal().configurable_fields(max_tokens=ConfigurableField(id="limit"))
    config: RunnableConfig = {"configurable": {"limit": 2}}
    assert llm.invoke("hi", config).content == "Io amo"
    assert [chunk.content for chunk in llm.stream("hi", config)] == ["Io", " amo", ""]


def test_configurable_alternatives(loader):
    llm = ChatVLLMLocal(max_tokens=1).configurable_alternatives(
        ConfigurableField(id="which"), long=ChatVLLMLocal(), lazily=lambda: ChatVLLMLocal(max_tokens=2)
    )
    assert llm.invoke("hi").content == "Io"
    assert llm.invoke("hi", {"configurable": {"which": "long"}}).content == ANSWER
    assert llm.invoke("hi", {"configurable": {"which": "lazily"}}).content == "Io amo"


def test_rate_limiter(loader):
    class Limiter(InMemoryRateLimiter):
        acquired = 0

        def acquire(self, *, blocking=True):
            self.acquired += 1
            return True

    limiter = Limiter(requests_per_second=1000)
    llm = ChatVLLMLocal(rate_limiter=limiter)
    llm.invoke("hi")
    list(llm.stream("hi"))
    llm.batch(["a", "b"])
    assert limiter.acquired == 4


# ── Content ──


async def test_output_version_v1(loader):
    llm = ChatVLLMLocal(output_version="v1")
    assert llm.invoke("hi").content == [{"type": "text", "text": ANSWER}]
    for chunks in (list(llm.stream("hi")), await collect(llm.astream("hi"))):
        total = sum(chunks[1:], chunks[0])
        assert [block["type"] for block in total.content_blocks] == ["text"]
        assert total.text == ANSWER
    # A conversation goes on with the answer as it came.
    llm.invoke([HumanMessage("hi"), llm.invoke("hi"), HumanMessage("again")])
    assert loader.record.rendered[-1][0][1] == {"role": "assistant", "content": ANSWER}


def test_v0_answers_have_content_blocks(llm):
    assert llm.invoke("hi").content_blocks == [{"type": "text", "text": ANSWER}]


# ── Bad requests ──


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda llm: llm.invoke([]), InvalidRequestError),
        (lambda llm: llm.invoke([ChatMessage(content="x", role="critic")]), InvalidRequestError),
        (lambda llm: llm.invoke("x" * 5000), ContextLengthError),
        (lambda llm: llm.invoke("x", max_tokens=0), InvalidRequestError),
        (lambda llm: llm.invoke("x", temperature=-1), InvalidRequestError),
        (lambda llm: llm.invoke("x", tool_choice="any"), InvalidRequestError),
        (
            lambda llm: llm.invoke([HumanMessage([{"type": "image", "base64": "AA==", "mime_type": "image/png"}])]),
            UnsupportedInputError,
        ),
    ],
    ids=["no messages", "role", "too long", "max_tokens", "temperature", "tool_choice", "image"],
)
def test_bad_requests_fail_alone(llm, ask, error):
    with pytest.raises(error):
        ask(llm)
    assert llm.invoke("hi").content == ANSWER


def test_one_bad_input_of_a_batch(llm):
    good, bad = llm.batch(["hi", "x" * 5000], return_exceptions=True)
    assert good.content == ANSWER
    assert isinstance(bad, ContextLengthError)
    with pytest.raises(ContextLengthError):
        llm.batch(["hi", "x" * 5000])


# ── Tokens ──


def test_token_counts_are_exact(loader, llm):
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    messages = [SystemMessage("Be kind."), HumanMessage("hi")]
    for tools in (None, [add]):
        counted = llm.get_num_tokens_from_messages(messages, tools)
        assert counted == llm.invoke(messages, tools=tools).usage_metadata["input_tokens"]
    assert llm.get_num_tokens_from_messages(messages) < counted
    assert llm.get_num_tokens_from_messages([]) == 0
    llm.get_num_tokens_from_messages(messages, chat_template_kwargs={"enable_thinking": False})
    assert loader.record.rendered[-1][2] == {"enable_thinking": False}
    assert llm.get_num_tokens("abc") == 3
    assert llm.get_token_ids("a") == [97]
    assert ChatVLLMLocal(custom_get_token_ids=lambda text: [1]).get_token_ids("abc") == [1]
