"""The chat model on the real engine: what a fake cannot show."""

import asyncio
import json
import threading
import time

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, trim_messages
from langchain_core.prompts import ChatPromptTemplate

from langchain_vllm_local import ChatVLLMLocal
from langchain_vllm_local._backends import process_registry
from vllm_local.errors import (
    ChatTemplateError,
    ContextLengthError,
    CorruptModelError,
    InvalidRequestError,
    ModelNotFoundError,
    UnsupportedInputError,
    UnsupportedModelError,
)
from vllm_local.starter import starter_path

LONG = {"ignore_eos": True, "max_tokens": 3000}


def engine_of(llm):
    engine = process_registry().loaded_engine(llm.engine_config())
    assert engine is not None
    return engine


def input_tokens(message):
    return message.usage_metadata["input_tokens"]


@pytest.fixture(autouse=True)
def _books_balance(starter):
    yield
    engine = process_registry().loaded_engine(starter.engine_config())
    if engine is not None:
        engine.check_integrity()
        assert (engine.stats().num_running, engine.stats().num_waiting) == (0, 0)


async def test_every_way_says_the_same(starter):
    expected = starter.invoke("Hello!").text
    assert expected
    assert (await starter.ainvoke("Hello!")).text == expected
    assert "".join(chunk.text for chunk in starter.stream("Hello!")) == expected
    assert "".join([chunk.text async for chunk in starter.astream("Hello!")]) == expected
    assert {message.text for message in starter.batch(["Hello!"] * 5)} == {expected}
    assert starter.generate([[HumanMessage("Hello!")]] * 3).generations[2][0].text == expected


def test_sync_calls_inside_a_running_loop_and_several_loops(starter):
    async def cell():
        return starter.invoke("Hello!").text, (await starter.ainvoke("Hello!")).text

    assert len({asyncio.run(cell()) for _ in range(3)}) == 1


@pytest.mark.parametrize(
    "messages",
    [
        [HumanMessage("Hello!")],
        [SystemMessage("You are kind."), HumanMessage("Hello!", name="ann")],
        [HumanMessage("a"), HumanMessage("b"), AIMessage("c"), HumanMessage("d")],
        [HumanMessage([{"type": "text", "text": "Ciao, città!"}])],
    ],
    ids=["plain", "system", "turns", "blocks"],
)
def test_token_counts_are_exact(starter, messages):
    usage = starter.invoke(messages, max_tokens=1).usage_metadata
    assert starter.get_num_tokens_from_messages(messages) == usage["input_tokens"]
    assert usage["output_tokens"] == 1
    assert starter.get_num_tokens("I love programming.") == len(starter.get_token_ids("I love programming.")) > 0


def test_token_counts_include_tools(starter):
    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b

    template = "{{ tools | tojson if tools else '' }}{% for message in messages %}{{ message.content }}{% endfor %}"
    llm = ChatVLLMLocal(max_tokens=1, engine_args={**starter.engine_args, "chat_template": template})
    messages = [HumanMessage("Hello!")]
    counted = llm.get_num_tokens_from_messages(messages, [add])
    assert counted == input_tokens(llm.invoke(messages, tools=[add]))
    assert counted > llm.get_num_tokens_from_messages(messages) + 20
    llm.shutdown()


def test_trimming_by_exact_counts(starter):
    history = [SystemMessage("Be kind."), *(HumanMessage(f"This is sentence number {i}.") for i in range(20))]
    kept = trim_messages(history, max_tokens=100, token_counter=starter, strategy="last", include_system=True)
    assert 2 < len(kept) < len(history)
    assert starter.get_num_tokens_from_messages(kept) <= 100


def test_usage_counts_what_the_prefix_cache_gave(starter):
    messages = [SystemMessage("You are a helpful assistant. " * 8), HumanMessage("Hello!")]
    starter.invoke(messages, cache_salt="a")
    again = starter.invoke(messages, cache_salt="a").usage_metadata
    salted = starter.invoke(messages, cache_salt="b").usage_metadata
    assert again["input_token_details"]["cache_read"] >= 16
    assert salted["input_token_details"]["cache_read"] == 0


def test_a_batch_runs_at_once(starter):
    starter.warm_up()
    engine, peak, done = engine_of(starter), [0], threading.Event()

    def watch():
        while not done.is_set():
            peak.append(engine.stats().num_running)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    chain = ChatPromptTemplate([("human", "{text}")]) | starter.bind(ignore_eos=True, max_tokens=60)
    answers = chain.batch([{"text": f"Hello {i}!"} for i in range(100)])
    done.set()
    watcher.join()
    assert [answer.usage_metadata["output_tokens"] for answer in answers] == [60] * 100
    assert max(peak) == 64


# ── Chat templates ──

STRICT = """{% for message in messages %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif -%}
[{{ message.role }}]{{ message.content }}
{%- endfor %}"""


def test_a_strict_template_gets_a_merged_conversation(starter):
    llm = ChatVLLMLocal(max_tokens=2, temperature=0, engine_args={**starter.engine_args, "chat_template": STRICT})
    merged = llm.invoke([SystemMessage("Be kind."), HumanMessage("Hello!"), HumanMessage("Who are you?")])
    assert input_tokens(merged) > 10
    with pytest.raises(ChatTemplateError, match="roles must alternate"):
        llm.invoke([AIMessage("Hello!"), HumanMessage("Hello!")])
    llm.shutdown()


def test_a_model_without_a_template_gets_the_fallback(starter, tmp_path):
    folder = copy_of_starter(tmp_path)
    for name in ("chat_template.jinja", "chat_template.json"):
        (folder / name).unlink(missing_ok=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    llm = ChatVLLMLocal(model=folder, max_tokens=2, temperature=0, engine_args=starter.engine_args)
    assert input_tokens(llm.invoke([SystemMessage("Be kind."), HumanMessage("Hello!")])) > 5
    llm.shutdown()


# ── Callers who leave ──


async def assert_stopped(starter, aborted_before):
    """At most one further token, by the engine's counter, from the moment its caller left."""
    engine = engine_of(starter)
    before = engine.stats().generation_tokens_total
    deadline = time.monotonic() + 20
    while engine.stats().num_requests_aborted == aborted_before and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    assert engine.stats().generation_tokens_total <= before + 1
    assert (engine.stats().num_running, engine.stats().num_requests_aborted) == (0, aborted_before + 1)


@pytest.fixture
def aborted(starter):
    starter.warm_up()
    return engine_of(starter).stats().num_requests_aborted


async def test_leaving_a_stream(starter, aborted):
    for i, _ in enumerate(starter.stream("Hello!", **LONG)):
        if i == 3:
            break
    await assert_stopped(starter, aborted)


async def test_leaving_an_async_stream(starter, aborted):
    async for _ in starter.astream("Hello!", **LONG):
        break
    # asyncio closes generators that were left, one inside the other, each two turns of the loop after the outer one.
    for _ in range(10):
        await asyncio.sleep(0)
    await assert_stopped(starter, aborted)


async def test_cancelling_a_task(starter, aborted):
    task = asyncio.create_task(starter.ainvoke("Hello!", **LONG))
    while not engine_of(starter).stats().num_running:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_stopped(starter, aborted)


async def test_timeouts(starter, aborted):
    with pytest.raises(TimeoutError, match=r"timeout of 0\.1 seconds"):
        starter.invoke("Hello!", timeout=0.1, **LONG)
    await assert_stopped(starter, aborted)
    with pytest.raises(TimeoutError):
        await starter.ainvoke("Hello!", timeout=0.1, **LONG)


# ── Bad input ──


@pytest.mark.parametrize(
    ("messages", "call", "error", "words"),
    [
        ([], {}, InvalidRequestError, "at least one message"),
        ([("critic", "x")], {}, ValueError, "critic"),
        ("word " * 6000, {}, ContextLengthError, "maximum context length"),
        ("x", {"max_tokens": 0}, InvalidRequestError, "max_tokens must be at least 1"),
        ("x", {"temperature": -1}, InvalidRequestError, "temperature must be non-negative"),
        ("x", {"n": 2, "temperature": 0}, InvalidRequestError, "n must be 1"),
        ("x", {"logit_bias": {10**9: 1}}, InvalidRequestError, "logit_bias"),
        (
            [HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}])],
            {},
            UnsupportedInputError,
            "text only",
        ),
    ],
    ids=["no messages", "role", "too long", "max_tokens", "temperature", "n", "token id", "image"],
)
def test_bad_requests_leave_the_others_alone(starter, messages, call, error, words):
    stream = starter.stream("Hello!", **LONG)
    next(stream)
    with pytest.raises(error, match=words):
        starter.invoke(messages, **call)
    assert next(stream).usage_metadata is None
    stream.close()


def copy_of_starter(tmp_path):
    for file in starter_path().iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_an_absent_folder(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"base_url="):
        ChatVLLMLocal(model=str(tmp_path / "absent")).invoke("Hello!")


def test_a_model_that_is_nowhere():
    with pytest.raises(ModelNotFoundError, match=r"no/such-model.*base_url="):
        ChatVLLMLocal(model="no/such-model").invoke("Hello!")


def test_a_corrupt_file(tmp_path, starter_arguments):
    folder = copy_of_starter(tmp_path)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptModelError):
        ChatVLLMLocal(model=str(folder), **starter_arguments).invoke("Hello!")


def test_an_unknown_architecture(tmp_path, starter_arguments):
    folder = copy_of_starter(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["HologramForCausalLM"], "model_type": "hologram"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match="Hologram"):
        ChatVLLMLocal(model=str(folder), **starter_arguments).invoke("Hello!")


# ── Logprobs ──


def test_logprobs(starter):
    answer = starter.invoke("Hello!", logprobs=True, top_logprobs=3)
    content = answer.response_metadata["logprobs"]["content"]
    text = "".join(item["token"] for item in content)
    assert text.startswith(answer.text)
    for item in content:
        assert len(item["top_logprobs"]) == 3
        assert item["logprob"] == item["top_logprobs"][0]["logprob"] <= 0
