"""Many requests at once, and requests whose caller goes away."""

import asyncio
import gc
import os
import signal
import threading
import time

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel

from langchain_vllm_local import ChatVLLMLocal, _backends

NUM_INPUTS = 100
MAX_NUM_SEQS = 64
TEXTS = [f"number {i}" for i in range(NUM_INPUTS)]


@pytest.fixture
def gathering(loader):
    """A chat model whose engine begins when as many requests run as it can take at a time."""
    loader.options = {"reply": ["x"] * 10, "gather": MAX_NUM_SEQS}
    return ChatVLLMLocal()


@pytest.fixture
def slow(loader):
    """A chat model whose engine needs long enough for callers to meet in one batch."""
    loader.options = {"reply": ["x"] * 10, "step_seconds": 0.005}
    return ChatVLLMLocal()


@pytest.fixture
def endless(loader):
    """A chat model that answers until it is told to stop."""
    loader.options = {"reply": ["x"] * 1_000_000, "step_seconds": 0.001}
    return ChatVLLMLocal()


def prompted(llm):
    return ChatPromptTemplate([("human", "{text}")]) | llm


# ── One continuous batch ──


@pytest.mark.parametrize("what", ["model", "chain", "bound", "bound chain", "mapped", "retrying", "with fallbacks"])
def test_a_batch_fills_the_engine(loader, gathering, what):
    dicts = [{"text": text} for text in TEXTS]
    ask = {
        "model": lambda: gathering.batch(TEXTS),
        "chain": lambda: prompted(gathering).batch(dicts),
        "bound": lambda: gathering.bind(stop=["y"]).batch(TEXTS),
        "bound chain": lambda: prompted(gathering.bind(stop=["y"]).with_config(tags=["t"])).batch(dicts),
        "mapped": lambda: gathering.map().invoke(TEXTS),
        "retrying": lambda: gathering.with_retry().batch(TEXTS),
        "with fallbacks": lambda: gathering.with_fallbacks([gathering]).batch(TEXTS),
    }
    assert len(ask[what]()) == NUM_INPUTS
    assert loader.record.peak == MAX_NUM_SEQS


@pytest.mark.parametrize("way", ["batch_as_completed", "generate"])
def test_the_other_batches_do_too(loader, gathering, way):
    if way == "generate":
        result = gathering.generate([[HumanMessage(text)] for text in TEXTS])
        assert len(result.generations) == len(result.run) == NUM_INPUTS
    else:
        assert sorted(i for i, _ in gathering.batch_as_completed(TEXTS)) == list(range(NUM_INPUTS))
    assert loader.record.peak == MAX_NUM_SEQS


@pytest.mark.parametrize("way", ["abatch", "agenerate", "chain", "abatch_as_completed"])
async def test_async_batches_need_no_threads(loader, gathering, way):
    await gathering.awarm_up()
    threads = []

    async def watch():
        while True:
            threads.append(threading.active_count())
            await asyncio.sleep(0.01)

    watcher = asyncio.create_task(watch())
    if way == "agenerate":
        await gathering.agenerate([[HumanMessage(text)] for text in TEXTS])
    elif way == "chain":
        await prompted(gathering).abatch([{"text": text} for text in TEXTS])
    elif way == "abatch":
        await gathering.abatch(TEXTS)
    else:
        assert len([item async for item in gathering.abatch_as_completed(TEXTS)]) == NUM_INPUTS
    watcher.cancel()
    assert loader.record.peak == MAX_NUM_SEQS
    assert max(threads) - threads[0] < 3


@pytest.mark.parametrize("config", [{"max_concurrency": 5}, [{"max_concurrency": 5}] * 20])
def test_max_concurrency_is_honoured(loader, slow, config):
    slow.batch(TEXTS[:20], config)
    assert loader.record.peak == 5


def test_max_num_seqs_is_the_default(loader):
    loader.options = {"reply": ["x"] * 10, "gather": 7}
    ChatVLLMLocal(engine_args={"max_num_seqs": 7}).batch(TEXTS[:20])
    assert loader.record.peak == 7


# docs/batching-and-async.md says so; when LangChain lifts a cap, the page should too.
@pytest.mark.parametrize(
    "compose",
    [
        lambda llm, config: RunnableParallel(answer=llm).batch(TEXTS, config),
        lambda llm, config: RunnableLambda(llm.invoke).batch(TEXTS, config),
        lambda llm, config: list(prompted(llm).batch_as_completed([{"text": text} for text in TEXTS], config)),
        lambda llm, config: llm.configurable_fields(temperature=ConfigurableField(id="heat")).batch(
            TEXTS, {**config, "configurable": {"heat": 0.5}}
        ),
    ],
    ids=["parallel", "lambda", "chain as completed", "configured"],
)
def test_what_langchain_caps_and_the_remedy(loader, slow, compose):
    compose(slow, {})
    cap = min(32, (os.cpu_count() or 1) + 4)
    assert loader.record.peak <= cap < MAX_NUM_SEQS
    loader.options = {"reply": ["x"] * 10, "gather": MAX_NUM_SEQS}
    slow.shutdown()
    compose(slow, {"max_concurrency": MAX_NUM_SEQS})
    assert loader.record.peak == MAX_NUM_SEQS


def test_threads_share_an_engine(loader, gathering):
    texts = []
    threads = [threading.Thread(target=lambda: texts.append(gathering.invoke("hi").content)) for _ in range(70)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert texts == ["x" * 10] * 70
    assert len(loader.engines) == 1


def test_a_loop_in_each_thread(loader, slow):
    answers = []

    def work():
        answers.extend(asyncio.run(slow.abatch(["a", "b"])))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 16


# ── Callers who leave ──


async def assert_aborted(loader, before=None):
    """The request stopped where it was: the engine added one token at most."""
    (stream,) = loader.record.streams
    before = before or stream.num_generated_tokens
    await asyncio.sleep(0.02)
    assert loader.record.num_aborted == 1
    assert stream.num_generated_tokens <= before + 1


@pytest.mark.parametrize("what", ["model", "chain"])
async def test_leaving_a_stream_aborts(loader, endless, what):
    runnable = endless if what == "model" else prompted(endless)
    for i, _ in enumerate(runnable.stream("hi" if what == "model" else {"text": "hi"})):
        if i == 3:
            break
    await assert_aborted(loader)


@pytest.mark.parametrize("what", ["model", "chain"])
async def test_leaving_an_async_stream_aborts(loader, endless, what):
    runnable = endless if what == "model" else prompted(endless)
    stream = runnable.astream("hi" if what == "model" else {"text": "hi"})
    async for _ in stream:
        break
    await stream.aclose()
    await assert_aborted(loader)


@pytest.mark.parametrize("way", ["ainvoke", "astream", "chain"])
async def test_cancelling_a_task_aborts(loader, endless, way):
    async def consume():
        async for _ in endless.astream("hi"):
            pass

    calls = {
        "ainvoke": lambda: endless.ainvoke("hi"),
        "astream": consume,
        "chain": lambda: prompted(endless).ainvoke({"text": "hi"}),
    }
    task = asyncio.create_task(calls[way]())
    while not (loader.engines and loader.record.streams and loader.record.streams[0].num_generated_tokens):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    task.cancel()
    before = loader.record.streams[0].num_generated_tokens
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_aborted(loader, before)


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_leaving_v3_events_aborts(loader, endless):
    stream = await endless.astream_events("hi", version="v3")
    async for _ in stream.text:
        break
    await stream.aclose()
    await assert_aborted(loader)


async def test_leaving_v2_events_aborts(loader, endless):
    events = endless.astream_events("hi", version="v2")
    async for event in events:
        if event["event"] == "on_chat_model_stream":
            break
    await events.aclose()
    await assert_aborted(loader)


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_leaving_sync_v3_events_aborts_when_they_are_collected(loader, endless):
    """They have no close(), and refer to themselves."""
    next(iter(endless.stream_events("hi", version="v3").text))
    gc.collect()
    await assert_aborted(loader)


@pytest.fixture
def _no_collection():
    """Python ignores a Ctrl-C that arrives inside a finalizer, so none may run meanwhile."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def interrupt_soon(loader, num_streams):
    def send():
        while not (loader.engines and len(loader.record.streams) >= num_streams):
            time.sleep(0.001)
        time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=send).start()


@pytest.mark.parametrize(
    ("ask", "num_streams"),
    [
        (lambda llm: llm.invoke("hi"), 1),
        (lambda llm: list(llm.stream("hi")), 1),
        (lambda llm: llm.batch(TEXTS[:10]), 10),
        (lambda llm: llm.generate([[HumanMessage(text)] for text in TEXTS[:10]]), 10),
    ],
    ids=["invoke", "stream", "batch", "generate"],
)
@pytest.mark.usefixtures("_no_collection")
def test_ctrl_c_aborts(loader, endless, ask, num_streams):
    interrupt_soon(loader, num_streams)
    with pytest.raises(KeyboardInterrupt):
        ask(endless)
    assert loader.record.num_aborted == num_streams
    assert endless.invoke("hi", max_tokens=2).content == "xx"


@pytest.mark.parametrize(
    "ask", [lambda llm: llm.invoke("hi"), lambda llm: llm.batch(TEXTS[:3])], ids=["invoke", "batch"]
)
@pytest.mark.usefixtures("_no_collection")
def test_ctrl_c_does_not_wait_for_a_model_that_loads(loader, llm, monkeypatch, ask):
    loading, go_on = threading.Event(), threading.Event()

    def load(config):
        loading.set()
        go_on.wait(20)
        return loader(config)

    def send():
        loading.wait(10)
        time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    monkeypatch.setattr(_backends, "load_engine", load)
    threading.Thread(target=send).start()
    with pytest.raises(KeyboardInterrupt):
        ask(llm)
    assert loader.engines == []
    go_on.set()
    assert llm.invoke("hi").content  # by the engine that went on loading
    assert len(loader.engines) == 1
