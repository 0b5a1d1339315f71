"""Many conversations in one call: what is answered, what is reported, and who is told to stop."""

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig

from langchain_vllm_local import ChatVLLMLocal
from vllm_local.errors import ContextLengthError

ANSWER = "Io amo programmare."
TEXTS = [f"number {i}" for i in range(9)]
TOO_LONG = "x" * 5000


@pytest.fixture
def endless(loader):
    """A chat model that answers until it is told to stop."""
    loader.options = {"reply": ["x"] * 1_000_000, "step_seconds": 0.001}
    return ChatVLLMLocal()


async def everything(completed):
    return [item async for item in completed]


def test_order_and_single_inputs(llm):
    assert llm.batch([]) == []
    assert list(llm.batch_as_completed([])) == []
    assert len(llm.batch(["one"])) == 1
    assert llm.generate([]).generations == []


async def test_async_order_and_single_inputs(llm):
    assert await llm.abatch([]) == []
    assert await everything(llm.abatch_as_completed([])) == []
    assert len(await llm.abatch(["one"])) == 1
    assert (await llm.agenerate([])).generations == []


class Runs(BaseCallbackHandler):
    """Counts the runs that began and ended."""

    def __init__(self):
        self.starts, self.ends, self.errors = [], [], []

    def on_chat_model_start(self, serialized, messages, *, run_id, **kwargs):
        self.starts.append((run_id, messages[0][0].content))

    def on_llm_end(self, response, *, run_id, **kwargs):
        self.ends.append(run_id)

    def on_llm_error(self, error, *, run_id, **kwargs):
        self.errors.append(run_id)


def test_generate_keeps_a_run_per_conversation(llm):
    runs = Runs()
    result = llm.generate([[HumanMessage(text)] for text in TEXTS], callbacks=[runs])
    assert {text for _, text in runs.starts} == set(TEXTS)
    by_id = dict(runs.starts)
    assert [by_id[info.run_id] for info in result.run] == TEXTS
    assert sorted(runs.ends) == sorted(by_id)
    assert result.llm_output["token_usage"]["completion_tokens"] == 9 * 4


def test_generate_raises_what_a_conversation_raises(llm):
    runs = Runs()
    with pytest.raises(ValueError, match="maximum context length"):
        llm.generate([[HumanMessage("hi")], [HumanMessage(TOO_LONG)]], callbacks=[runs])
    # The other one has ended too: with its answer, or aborted because nobody would get it.
    assert sorted(runs.ends + runs.errors) == sorted(run_id for run_id, _ in runs.starts)


# ── One configuration each ──


@pytest.fixture
def runs():
    return Runs()


@pytest.mark.parametrize("way", ["batch", "abatch", "batch_as_completed", "abatch_as_completed"])
def test_each_input_has_its_configuration(llm, runs, way):
    configs: Any = [{"callbacks": [runs], "run_id": f"00000000-0000-0000-0000-00000000000{i}"} for i in range(9)]
    ask: Any = {
        "batch": lambda: enumerate(llm.batch(TEXTS, configs)),
        "abatch": lambda: enumerate(asyncio.run(llm.abatch(TEXTS, configs))),
        "batch_as_completed": lambda: llm.batch_as_completed(TEXTS, configs),
        "abatch_as_completed": lambda: asyncio.run(everything(llm.abatch_as_completed(TEXTS, configs))),
    }
    answers = dict(ask[way]())
    assert {i: message.id.split("--")[1][:36] for i, message in answers.items()} == {
        i: config["run_id"] for i, config in enumerate(configs)
    }
    assert {int(str(run_id)[-1]): text for run_id, text in runs.starts} == dict(enumerate(TEXTS))
    assert sorted(map(str, runs.ends)) == sorted(str(run_id) for run_id, _ in runs.starts)
    with pytest.raises(ValueError, match="config must be a list of the same length"):
        llm.batch(TEXTS, configs[:3])


@pytest.mark.parametrize("config", [{"max_concurrency": 5}, [{"max_concurrency": 5}] * 20])
async def test_async_max_concurrency_is_honoured(loader, config):
    loader.options = {"reply": ["x"] * 10, "step_seconds": 0.003}
    llm = ChatVLLMLocal()
    assert len(await llm.abatch(["hi"] * 20, config)) == 20
    assert loader.record.peak == 5


# ── Errors ──


async def test_errors_in_place_of_answers(llm):
    for good, bad in (
        llm.batch(["hi", TOO_LONG], return_exceptions=True),
        await llm.abatch(["hi", TOO_LONG], return_exceptions=True),
    ):
        assert good.content == ANSWER
        assert isinstance(bad, ContextLengthError)
    completed = dict(await everything(llm.abatch_as_completed(["hi", TOO_LONG], return_exceptions=True)))
    assert (completed[0].content, type(completed[1]), len(completed)) == (ANSWER, type(bad), 2)


async def still_running(loader):
    """How many requests run, and how many were aborted."""
    before = [stream.num_generated_tokens for stream in loader.record.streams]
    await asyncio.sleep(0.02)
    after = [stream.num_generated_tokens for stream in loader.record.streams]
    return sum(a != b for a, b in zip(before, after, strict=True)), loader.record.num_aborted


@pytest.mark.parametrize("way", ["model", "chain", "bound"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_one_that_fails_ends_the_others(loader, endless, way, is_async):
    choices: Any = {
        "model": (endless, str),
        "chain": (ChatPromptTemplate([("human", "{text}")]) | endless, lambda text: {"text": text}),
        "bound": (endless.bind(stop=["y"]), str),
    }
    runnable, wrap = choices[way]
    inputs: Any = [wrap(text) for text in ("hi", "ho", TOO_LONG)]
    with pytest.raises(ContextLengthError):
        await runnable.abatch(inputs) if is_async else runnable.batch(inputs)
    assert (await still_running(loader))[0] == 0


# ── Callers who leave ──


async def start(loader, coroutine, num_streams):
    task = asyncio.create_task(coroutine)
    while not (loader.engines and len(loader.record.streams) >= num_streams):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return task


@pytest.mark.parametrize("way", ["abatch", "abatch_as_completed", "agenerate", "chain", "limited"])
async def test_cancelling_an_async_batch_aborts_all_of_it(loader, endless, way):
    limited: RunnableConfig = {"max_concurrency": 3}
    ask: Any = {
        "abatch": lambda: endless.abatch(TEXTS),
        "abatch_as_completed": lambda: everything(endless.abatch_as_completed(TEXTS)),
        "agenerate": lambda: endless.agenerate([[HumanMessage(text)] for text in TEXTS]),
        "chain": lambda: (ChatPromptTemplate([("human", "{text}")]) | endless).abatch([{"text": "hi"}] * 9),
        "limited": lambda: endless.abatch(TEXTS, limited),
    }
    num_running = 3 if way == "limited" else 9
    task = await start(loader, ask[way](), num_running)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await still_running(loader) == (0, num_running)
    assert len(loader.record.streams) == num_running


async def test_leaving_abatch_as_completed_aborts_the_rest(loader, endless):
    completed = endless.bind(stop=["q"]).abatch_as_completed(["short", "long", "long"], return_exceptions=True)
    first = await start(loader, completed.__anext__(), 3)
    loader.record.streams[0].abort()
    assert (await first)[0] == 0
    await completed.aclose()
    assert await still_running(loader) == (0, 3)


def test_leaving_batch_as_completed_aborts_the_rest(loader, endless):
    completed = endless.bind(stop=["q"]).batch_as_completed(
        ["short", "long"], [{"max_concurrency": 2}] * 2, return_exceptions=True
    )
    timer = threading.Timer(0.05, lambda: loader.record.streams[0].abort())  # noqa: PLW0108 - not there yet
    timer.start()
    next(completed)
    completed.close()
    assert loader.record.num_aborted == 2
