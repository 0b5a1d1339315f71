import asyncio
import threading
import time

import pytest
from langchain_core.messages import HumanMessage

from langchain_vllm_local import _backends
from langchain_vllm_local._backends import EngineBackend, EngineRegistry, process_registry
from langchain_vllm_local._errors import LocalRequestAbortedError, LocalTimeoutError
from langchain_vllm_local._parameters import ChatParameters
from tests.langchain.fake_engine import FakeEngine
from vllm_local.config import EngineConfig
from vllm_local.errors import EngineClosedError, EngineDeadError, InvalidRequestError, ModelNotFoundError

HELLO = [HumanMessage("hello")]


def parameters(**values):
    return ChatParameters(model="m", **values)


@pytest.fixture
def backend(loader):
    return EngineBackend(EngineConfig())


def text(chunks):
    return "".join(chunk.text for chunk in chunks)


async def collect(chunks):
    return [chunk async for chunk in chunks]


async def test_the_four_ways_agree(backend):
    expected = "Io amo programmare."
    assert backend.generate(HELLO, parameters()).generations[0].text == expected
    assert (await backend.agenerate(HELLO, parameters())).generations[0].text == expected
    assert text(backend.stream(HELLO, parameters())) == expected
    assert text(await collect(backend.astream(HELLO, parameters()))) == expected


def test_engines_are_shared_by_their_arguments(loader):
    EngineBackend(EngineConfig(max_num_seqs=8)).warm_up()
    EngineBackend(EngineConfig(max_num_seqs=8)).warm_up()
    EngineBackend(EngineConfig(max_num_seqs=8, hf_token="secret")).warm_up()
    assert len(loader.engines) == 1
    EngineBackend(EngineConfig(max_num_seqs=9)).warm_up()
    assert len(loader.engines) == 2


def test_many_first_users_load_once(loader):
    backend = EngineBackend(EngineConfig())
    threads = [threading.Thread(target=backend.warm_up) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(loader.engines) == 1


def test_a_failed_load_is_tried_again(loader, backend):
    loader.error = ModelNotFoundError("no such model")
    with pytest.raises(ModelNotFoundError):
        backend.warm_up()
    loader.error = None
    backend.warm_up()


def test_cancelling_one_waiter_leaves_the_load_to_others(loader, backend, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(_backends, "load_engine", lambda config: gate.wait(10) and loader(config))

    async def main():
        impatient, patient = asyncio.create_task(backend.awarm_up()), asyncio.create_task(backend.awarm_up())
        await asyncio.sleep(0.01)
        impatient.cancel()
        await asyncio.sleep(0)
        gate.set()
        await patient
        assert impatient.cancelled()

    asyncio.run(main())
    assert len(loader.engines) == 1


@pytest.mark.parametrize("end", [FakeEngine.close, FakeEngine.die])
def test_an_engine_that_ended_is_replaced(loader, backend, end):
    backend.warm_up()
    end(loader.engines[0])
    assert backend.known_max_model_len() is None
    assert backend.generate(HELLO, parameters()).generations[0].text
    assert len(loader.engines) == 2


@pytest.mark.parametrize(("end", "error"), [(FakeEngine.close, EngineClosedError), (FakeEngine.die, EngineDeadError)])
def test_who_waits_gets_the_engines_error(loader, backend, end, error):
    loader.options = {"reply": ["x"] * 10_000}
    threading.Timer(0.05, lambda: end(loader.engines[0])).start()
    with pytest.raises(error):
        backend.generate(HELLO, parameters())


def test_shutdown_frees_the_engine(loader, backend):
    backend.shutdown()
    backend.warm_up()
    backend.shutdown()
    assert loader.engines[0].is_closed
    assert process_registry().loaded_engine(backend.config) is None


def test_the_registry_belongs_to_its_process(monkeypatch, loader, backend):
    backend.warm_up()
    parent = process_registry()
    monkeypatch.setattr("os.getpid", lambda: 1)
    assert process_registry() is not parent
    assert process_registry() is process_registry()
    backend.warm_up()
    assert len(loader.engines) == 2
    assert not loader.engines[0].is_closed


def test_loading_happens_in_a_thread_of_its_own(monkeypatch):
    names = []
    monkeypatch.setattr(_backends, "load_engine", lambda config: names.append(threading.current_thread().name))
    EngineRegistry().engine(EngineConfig()).result(10)
    assert names == ["vllm-local-load"]


@pytest.mark.parametrize("way", ["generate", "agenerate", "stream", "astream"])
def test_timeouts_abort(loader, backend, way):
    loader.options = {"reply": ["x"] * 100_000, "step_seconds": 0.002}
    late = parameters(timeout=0.05)
    calls = {
        "generate": lambda: backend.generate(HELLO, late),
        "agenerate": lambda: asyncio.run(backend.agenerate(HELLO, late)),
        "stream": lambda: list(backend.stream(HELLO, late)),
        "astream": lambda: asyncio.run(collect(backend.astream(HELLO, late))),
    }
    with pytest.raises(LocalTimeoutError, match=r"timeout of 0\.05"):
        calls[way]()
    assert loader.record.num_aborted == 1


def test_a_timely_answer_cancels_its_timer(backend):
    before = threading.active_count()
    backend.generate(HELLO, parameters(timeout=1000))
    deadline = time.monotonic() + 5
    while threading.active_count() > before + 1 and time.monotonic() < deadline:  # the engine's own thread stays
        time.sleep(0.001)
    assert threading.active_count() <= before + 1


def test_half_an_answer_is_an_error(loader, backend):
    loader.options = {"reply": ["x"] * 10_000}
    backend.warm_up()

    def abort():
        while not loader.record.streams:
            time.sleep(0.001)
        loader.record.streams[0].abort()

    threading.Thread(target=abort).start()
    with pytest.raises(LocalRequestAbortedError):
        backend.generate(HELLO, parameters())


async def test_half_a_stream_ends_with_an_error_and_says_nothing_of_an_end(loader, backend):
    loader.options = {"reply": ["x"] * 10_000}
    positions = []

    def take(chunk):
        positions.append(chunk.message.chunk_position)
        loader.record.streams[-1].abort()

    async def take_all():
        async for chunk in backend.astream(HELLO, parameters()):
            take(chunk)

    with pytest.raises(LocalRequestAbortedError):
        list(map(take, backend.stream(HELLO, parameters())))
    with pytest.raises(LocalRequestAbortedError):
        await take_all()
    assert len(positions) >= 2
    assert set(positions) == {None}


@pytest.mark.parametrize("way", ["generate", "agenerate", "stream", "astream"])
@pytest.mark.parametrize("num_tokens", [0, 1])
def test_outputs_that_stop_without_an_end_are_no_answer(loader, backend, way, num_tokens):
    loader.options = {"gather": 2}  # the engine itself never begins
    backend.warm_up()
    submit = loader.engines[0].submit

    def submit_broken(*arguments, **keywords):
        stream = submit(*arguments, **keywords)
        for _ in range(num_tokens):
            stream.push(loader.engines[0].output(stream, ["x"], None))
        stream.push(None)
        return stream

    loader.engines[0].submit = submit_broken
    calls = {
        "generate": lambda: backend.generate(HELLO, parameters()),
        "agenerate": lambda: asyncio.run(backend.agenerate(HELLO, parameters())),
        "stream": lambda: list(backend.stream(HELLO, parameters())),
        "astream": lambda: asyncio.run(collect(backend.astream(HELLO, parameters()))),
    }
    with pytest.raises(LocalRequestAbortedError):
        calls[way]()


def test_nobody_waits_to_hear_the_length_of_a_context(loader, backend, monkeypatch):
    gate, opened = threading.Event(), []

    def load(config):
        opened.append(gate.wait(5))
        return loader(config)

    monkeypatch.setattr(_backends, "load_engine", load)
    process_registry().engine(backend.config)
    assert backend.known_max_model_len() is None
    gate.set()
    backend.warm_up()
    assert backend.known_max_model_len() == 4096
    assert opened == [True]


def test_closing_a_stream_aborts(loader, backend):
    loader.options = {"reply": ["x"] * 10_000}
    chunks = backend.stream(HELLO, parameters())
    next(chunks)
    chunks.close()
    (stream,) = loader.record.streams
    assert stream.finished
    assert loader.record.num_aborted == 1


TOOL = {"type": "function", "function": {"name": "add"}}


def test_what_the_request_says_reaches_the_engine(loader, backend):
    backend.generate(
        HELLO,
        parameters(
            sampling={"top_k": 3, "temperature": 0.7},
            template={"enable_thinking": False},
            tools=[TOOL],
            tool_choice="none",
            priority=2,
            cache_salt="s",
        ),
    )
    (submitted,) = loader.record.submitted
    assert (submitted.params.top_k, submitted.params.temperature) == (3, 0.7)
    assert (submitted.priority, submitted.cache_salt) == (2, "s")
    assert loader.record.rendered[0][1:] == ([TOOL], {"enable_thinking": False})


def test_a_stream_has_one_answer(backend):
    with pytest.raises(InvalidRequestError, match="n=2"):
        list(backend.stream(HELLO, parameters(sampling={"n": 2, "temperature": 1.0})))


def test_counts(loader, backend):
    assert backend.token_ids("ab") == [97, 98]
    counted = backend.count_tokens(HELLO, parameters())
    usage = backend.generate(HELLO, parameters()).generations[0].message.usage_metadata
    assert counted == usage["input_tokens"]
    assert backend.known_max_model_len() == 4096
