import asyncio
import dataclasses
import gc
import itertools
import os
import random
import signal
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.engine.engine_fakes import (
    ANSWER,
    FakeModelRunner,
    make_engine,
    make_loaded,
    make_tokenizer,
    repeat_answer,
    run_python,
)
from vllm_local import async_llm
from vllm_local.async_llm import AsyncLLM
from vllm_local.config import EngineConfig
from vllm_local.engine_registry import EngineRegistry
from vllm_local.errors import (
    EngineClosedError,
    EngineDeadError,
    EngineError,
    InsufficientMemoryError,
    InvalidRequestError,
)
from vllm_local.sampling_params import RequestOutputKind, SamplingParams
from vllm_local.structured_output import GrammarCompiler
from vllm_local.structured_outputs_params import StructuredOutputsParams

FOREVER = SamplingParams(max_tokens=100)
DELTA = RequestOutputKind.DELTA


@pytest.fixture
def runner():
    return FakeModelRunner()


@pytest.fixture
def engine(runner):
    with make_engine(runner) as engine:
        yield engine
        if not engine.is_closed:
            until(lambda: engine.stats().num_running == engine.stats().num_waiting == 0)
            engine.check_integrity()
            assert engine.stats().kv_cache_usage == 0


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


def answer_of(num_tokens, choice_index=0):
    words = make_tokenizer().encode(ANSWER)
    return make_tokenizer().decode([words[(choice_index + i) % len(words)] for i in range(num_tokens)])


def last_text(stream):
    *_, last = stream
    return last.outputs[0].text


class TestStreams:
    @pytest.mark.parametrize("stop", [(), ("lazy",)])
    @pytest.mark.parametrize("n", [1, 3])
    def test_deltas_join_to_the_whole(self, engine, stop, n):
        params = {"n": n, "max_tokens": 40, "stop": stop, "logprobs": 1}
        (whole,) = engine.submit("Hi", SamplingParams(**params, output_kind=RequestOutputKind.FINAL_ONLY))
        texts, reasons = [""] * n, [None] * n
        ids: list[list[int]] = [[] for _ in range(n)]
        for output in engine.submit("Hi", SamplingParams(**params, output_kind=DELTA)):
            for item in output.outputs:
                texts[item.index] += item.text
                ids[item.index] += item.token_ids
                reasons[item.index] = item.finish_reason
        assert texts == [item.text for item in whole.outputs]
        assert ids == [item.token_ids for item in whole.outputs]
        assert reasons == [item.finish_reason for item in whole.outputs]
        assert all(not stop or text == answer_of(40, i).split("lazy")[0] for i, text in enumerate(texts))
        cumulative = list(engine.submit("Hi", SamplingParams(**params)))
        assert [item.text for item in cumulative[-1].outputs] == texts
        for before, after in itertools.pairwise(cumulative):
            assert all(b.text == a.text[: len(b.text)] for b, a in zip(before.outputs, after.outputs, strict=True))

    def test_a_slow_reader_finds_one_merged_output(self, engine):
        stream = engine.submit("Hi", SamplingParams(max_tokens=30, output_kind=DELTA))
        until(lambda: stream.is_ended)
        outputs = list(stream)
        assert len(outputs) == 1
        assert outputs[0].outputs[0].text == answer_of(30)

    def test_poll_gives_up_after_its_time(self, engine, runner):
        runner.gate.clear()
        stream = engine.submit("Hi", SamplingParams(max_tokens=1))
        assert stream.poll(0.01) is None
        runner.gate.set()
        assert stream.poll(5).finished
        with pytest.raises(StopIteration):
            next(stream)

    def test_a_request_id_is_free_again_once_its_last_output_is_there(self, engine):
        for _ in range(50):
            assert list(engine.submit("Hi", SamplingParams(max_tokens=1), request_id="mine"))[-1].request_id == "mine"

    def test_a_request_id_in_use(self, engine):
        with engine.submit("Hi", FOREVER, request_id="mine") as stream:
            if not stream.is_ended:
                with pytest.raises(InvalidRequestError, match="'mine' is in use"):
                    engine.submit("Hi", FOREVER, request_id="mine")

    def test_a_bad_request_is_refused_at_once_and_others_go_on(self, engine, runner):
        runner.gate.clear()
        stream = engine.submit("Hi", SamplingParams(max_tokens=3))
        with pytest.raises(InvalidRequestError):
            engine.submit("", FOREVER)
        runner.gate.set()
        assert last_text(stream) == answer_of(3)

    def test_an_error_of_one_request_is_its_own(self, engine, runner):
        runner.gate.clear()
        stream, other = engine.submit("Hi", FOREVER, request_id="bad"), engine.submit("Hi", FOREVER)
        runner.errors = dict.fromkeys(stream._collector.choice_ids, "its logits are no numbers")
        runner.gate.set()
        with pytest.raises(EngineError, match="'bad' cannot go on: its logits are no numbers"):
            list(stream)
        assert last_text(other) == answer_of(100)


class TestAbort:
    """At most one further token, by the engine's own count."""

    @pytest.fixture
    def slow(self):
        with make_engine(FakeModelRunner(step_seconds=0.005)) as engine:
            yield engine

    def check(self, engine, stream, num_tokens):
        until(lambda: engine.stats().num_running == 0)
        assert stream.num_generated_tokens <= num_tokens + 1
        engine.check_integrity()
        assert engine.stats().num_requests_aborted == 1

    def begin(self, engine, **params):
        stream = engine.submit("Hi", SamplingParams(max_tokens=100, **params), request_id="mine")
        next(stream)
        return stream

    @pytest.mark.parametrize("how", ["abort", "close", "__del__"])
    def test_by_the_stream(self, slow, how):
        stream = self.begin(slow)
        getattr(stream, how)()
        self.check(slow, stream, stream.num_generated_tokens)
        outputs = list(stream)
        assert outputs[-1].finished
        assert outputs[-1].outputs[0].finish_reason == "abort"
        assert outputs[-1].outputs[0].text == answer_of(stream.num_generated_tokens)

    def test_by_name(self, slow):
        stream = self.begin(slow, n=2)
        slow.abort("mine")
        slow.abort("unknown")
        *_, last = stream
        assert [item.finish_reason for item in last.outputs] == ["abort", "abort"]

    def test_by_leaving_the_block(self, slow):
        with self.begin(slow) as stream:
            pass
        self.check(slow, stream, stream.num_generated_tokens)

    def test_by_dropping_the_stream(self, slow):
        stream = self.begin(slow)
        collector = stream._collector
        del stream
        gc.collect()
        self.check(slow, collector, collector.num_generated_tokens)

    def test_while_it_waits_for_its_turn(self, engine, runner):
        runner.gate.clear()
        streams = [engine.submit("Hi", FOREVER) for _ in range(20)]
        for stream in streams:
            stream.abort()
        runner.gate.set()
        for stream in streams:
            assert list(stream)[-1].outputs[0].finish_reason == "abort"

    async def test_by_cancelling_a_task(self, slow):
        stream = slow.submit("Hi", FOREVER)
        begun = asyncio.Event()

        async def read():
            async for _ in stream:
                begun.set()

        task = asyncio.create_task(read())
        await asyncio.wait_for(begun.wait(), 5)
        task.cancel()
        count = stream.num_generated_tokens
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(self.check, slow, stream, count)

    async def test_by_leaving_generate(self, slow):
        outputs = slow.generate("Hi", FOREVER, "mine")
        count = (await anext(outputs)).num_generated_tokens
        await outputs.aclose()
        await asyncio.to_thread(until, lambda: slow.stats().num_running == 0)
        assert slow.stats().generation_tokens_total <= count + 2
        assert slow.stats().num_requests_aborted == 1

    @pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
    def test_by_interrupting_a_reader(self, slow):
        stream = slow.submit("Hi", SamplingParams(max_tokens=100, output_kind=RequestOutputKind.FINAL_ONLY))
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        self.check(slow, stream, stream.num_generated_tokens)
        timer.join()


class TestAsync:
    async def test_generate(self, engine):
        texts = [output.outputs[0].text async for output in engine.generate("Hi", SamplingParams(max_tokens=9))]
        assert texts[-1] == answer_of(9)

    async def test_slow_compiling_holds_up_nobody_else(self, engine, monkeypatch):
        gate, compile_now = threading.Event(), GrammarCompiler._compile

        def compile_later(*args):
            assert gate.wait(60)
            return compile_now(*args)

        monkeypatch.setattr(GrammarCompiler, "_compile", compile_later)
        slow = SamplingParams(max_tokens=9, structured_outputs=StructuredOutputsParams(regex="(?s:.*)"))
        left, *stay = [asyncio.create_task(engine.submit_async("Hi", slow)) for _ in range(6)]
        free = await asyncio.wait_for(engine.submit_async("Hi", SamplingParams(max_tokens=3)), 30)
        assert [output async for output in free][-1].outputs[0].text == answer_of(3)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        gate.set()
        for stream in await asyncio.gather(*stay):
            assert [output async for output in stream][-1].outputs[0].text == answer_of(9)

    async def test_what_cannot_be_compiled_is_told_the_caller(self, engine):
        with pytest.raises(InvalidRequestError, match="cannot be compiled"):
            await engine.submit_async(
                "Hi", SamplingParams(max_tokens=3, structured_outputs=StructuredOutputsParams(regex="(("))
            )

    async def test_many_tasks_in_one_loop(self, engine):
        async def ask(index):
            stream = engine.submit("Hi" * index, SamplingParams(max_tokens=1 + index))
            async with stream:
                return [output async for output in stream][-1]

        outputs = await asyncio.gather(*map(ask, range(1, 30)))
        assert [item.outputs[0].text for item in outputs] == [answer_of(1 + index) for index in range(1, 30)]

    async def test_a_bad_request_in_generate(self, engine):
        with pytest.raises(InvalidRequestError):
            await anext(engine.generate("", FOREVER))

    async def test_rendering_happens_off_the_loop(self, engine):
        threads = []
        render = engine.chat_format.render

        def spy(*args, **kwargs):
            threads.append(threading.current_thread())
            return render(*args, **kwargs)

        engine.chat_format.render = spy
        messages = [{"role": "user", "content": "Hi"}]
        expected = engine.tokenizer.encode(render(messages), add_special_tokens=False)
        assert await engine.render_async(messages) == expected
        assert threads[0] is not threading.current_thread()
        shorter = render(messages, add_generation_prompt=False)
        assert engine.render(messages, add_generation_prompt=False) == engine.tokenizer.encode(shorter, False)

    def test_one_loop_after_another(self, engine):
        async def ask():
            return [output async for output in engine.generate("Hi", SamplingParams(max_tokens=5))][-1]

        for _ in range(3):
            assert asyncio.run(ask()).outputs[0].text == answer_of(5)

    def test_a_loop_that_ends_early_disturbs_nobody(self, engine, runner):
        async def begin():
            stream = engine.submit("Hi", FOREVER)
            await anext(stream)
            waiting = asyncio.ensure_future(anext(stream))
            runner.gate.clear()
            await asyncio.sleep(0)
            asyncio.get_running_loop().stop()
            return stream, waiting

        loop = asyncio.new_event_loop()
        task = loop.create_task(begin())
        loop.run_forever()
        loop.close()
        other = engine.submit("Hi", SamplingParams(max_tokens=7))
        runner.gate.set()
        assert last_text(other) == answer_of(7)
        assert task is not None

    async def test_sync_calls_inside_a_running_loop(self, engine):
        assert last_text(engine.submit("Hi", SamplingParams(max_tokens=5))) == answer_of(5)

    def test_threads_and_loops_at_once(self, engine):
        def sync(index):
            return last_text(engine.submit("Hi", SamplingParams(max_tokens=1 + index % 20)))

        async def ask(index):
            outputs = [item async for item in engine.generate("Hi", SamplingParams(max_tokens=1 + index % 20))]
            return outputs[-1].outputs[0].text

        async def ask_many():
            return await asyncio.gather(*map(ask, range(30)))

        with ThreadPoolExecutor(103) as pool:
            loops = [pool.submit(asyncio.run, ask_many()) for _ in range(3)]
            singles = [pool.submit(sync, index) for index in range(100)]
            assert [item.result(30) for item in singles] == [answer_of(1 + index % 20) for index in range(100)]
            for loop in loops:
                assert loop.result(30) == [answer_of(1 + index % 20) for index in range(30)]


class TestLoading:
    """Engines named by letters. Reading the files of one, or loading it, may wait at a gate, or fail."""

    @pytest.fixture
    def machine(self, monkeypatch):
        monkeypatch.setattr(async_llm, "REGISTRY", EngineRegistry())  # other tests' engines may linger in the real one
        with ThreadPoolExecutor(4) as pool:
            machine = FakeMachine(pool)
            monkeypatch.setattr(async_llm, "read_model_files", machine.read_model_files)
            monkeypatch.setattr(async_llm, "load", machine.load)
            try:
                yield machine
            finally:
                machine.open_gates()

    def test_loads_take_turns_and_see_who_came_before(self, machine):
        gate = machine.shut_gate("load a")
        first, second = machine.make("a"), machine.make("b")
        until(lambda: {"load a", "read b"} <= set(machine.log))
        time.sleep(0.05)
        assert "load b" not in machine.log
        gate.set()
        with first.result(10), second.result(10):
            assert machine.seen["a"] == []
            assert [name.split()[0] for name in machine.seen["b"]] == ["a"], "the first was registered by then"

    def test_fetching_files_is_nobody_s_turn(self, machine):
        gate = machine.shut_gate("read a")
        first = machine.make("a")
        until(lambda: "read a" in machine.log)
        with machine.make("b").result(10):
            gate.set()
            first.result(10).close()

    @pytest.mark.parametrize("step", ["read a", "load a"])
    def test_a_load_that_fails_lets_the_next_one_in(self, machine, step):
        machine.failures[step] = InsufficientMemoryError("too large")
        with pytest.raises(InsufficientMemoryError):
            machine.make("a").result(10)
        machine.make("b").result(10).close()


class FakeMachine:
    """Loads engines in threads; notes each step as it begins."""

    def __init__(self, pool):
        self.log, self.seen, self.gates, self.failures = [], {}, {}, {}
        self.pool = pool

    def make(self, name):
        return self.pool.submit(async_llm.AsyncLLM, EngineConfig(model=name))

    def shut_gate(self, step):
        return self.gates.setdefault(step, threading.Event())

    def open_gates(self):
        for gate in self.gates.values():
            gate.set()

    def read_model_files(self, config):
        self.enter("read", config.model)
        return config

    def load(self, config, *, loaded_engines, reserved_memory, after_fork):
        assert bool(reserved_memory()) == bool(loaded_engines)
        self.seen[config.model] = loaded_engines
        self.enter("load", config.model)
        return make_loaded(model=config.model)

    def enter(self, verb, name):
        step = f"{verb} {name}"
        self.log.append(step)
        if step in self.failures:
            raise self.failures[step]
        if step in self.gates:
            assert self.gates[step].wait(30), "a test forgot to open the gate"


class TestEnd:
    def test_a_failing_step_fails_every_reader(self, runner):
        engine = make_engine(runner)
        runner.gate.clear()
        streams = [engine.submit("Hi", FOREVER) for _ in range(12)]

        async def read(stream):
            async for _ in stream:
                pass

        with ThreadPoolExecutor(12) as pool:
            sync = [pool.submit(list, stream) for stream in streams[:6]]
            loops = [pool.submit(asyncio.run, read(stream)) for stream in streams[6:]]
            runner.failure = RuntimeError("the weights melted")
            runner.gate.set()
            for future in [*sync, *loops]:
                with pytest.raises(EngineDeadError, match="RuntimeError: the weights melted") as caught:
                    future.result(10)
                assert caught.value.__cause__ is runner.failure
        for late in (
            lambda: engine.submit("Hi", FOREVER),
            engine.check_health,
            engine.reset_prefix_cache,
            engine.check_integrity,
            lambda: asyncio.run(anext(engine.generate("Hi", FOREVER))),
        ):
            with pytest.raises(EngineDeadError):
                late()
        assert engine.is_closed
        assert engine.stats().generation_tokens_total == 0
        engine.abort("x")
        engine.close()

    def test_a_failing_output_thread_ends_the_engine(self, engine):
        def fail(_):
            raise RuntimeError("no ink")

        engine._thread._engine.output_processor._decode_logprobs = fail
        with pytest.raises(EngineDeadError, match="no ink"):
            list(engine.submit("Hi", SamplingParams(max_tokens=100, logprobs=1)))
        until(lambda: not engine._thread._engine_thread.is_alive())

    def test_what_was_finished_before_a_failure_is_delivered(self, runner):
        def rule(tokens, num_prompt_tokens, choice_index):
            runner.failure = RuntimeError("later")
            return 40

        runner.rule = rule
        engine = make_engine(runner)
        streams = [engine.submit("Hi", SamplingParams(max_tokens=1)) for _ in range(1)]
        assert list(streams[0])[-1].finished

    def test_close_fails_whoever_waits(self, runner):
        engine = make_engine(runner)
        runner.gate.clear()
        streams = [engine.submit("Hi", FOREVER) for _ in range(3)]
        closer = threading.Thread(target=engine.close)
        closer.start()
        runner.gate.set()
        closer.join(10)
        assert engine.is_closed
        for stream in streams:
            with pytest.raises(EngineClosedError, match="was closed"):
                list(stream)
        with pytest.raises(EngineClosedError):
            engine.submit("Hi", FOREVER)
        engine.close()

    async def test_close_fails_coroutines(self, runner):
        engine = make_engine(FakeModelRunner(step_seconds=0.002))
        stream = engine.submit("Hi", FOREVER)

        async def read():
            async for _ in stream:
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.01)
        await asyncio.to_thread(engine.close)
        with pytest.raises(EngineClosedError):
            await asyncio.wait_for(task, 5)
        with pytest.raises(EngineClosedError):
            await engine.render_async([{"role": "user", "content": "Hi"}])

    def test_close_from_many_threads(self, engine):
        threads = [threading.Thread(target=engine.close) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()

    def test_submitting_while_it_closes_never_hangs(self):
        for _ in range(20):
            engine = make_engine()
            closer = threading.Thread(target=engine.close)

            def ask(engine=engine):
                try:
                    while True:
                        list(engine.submit("Hi", SamplingParams(max_tokens=2)))
                except EngineClosedError:
                    return "closed"

            with ThreadPoolExecutor(4) as pool:
                futures = [pool.submit(ask) for _ in range(4)]
                closer.start()
                assert [future.result(10) for future in futures] == ["closed"] * 4

    def test_dropping_the_engine_frees_it(self):
        engine = make_engine()
        runner = weakref.ref(engine._thread._engine.model_runner)
        thread = engine._thread._engine_thread
        list(engine.submit("Hi", SamplingParams(max_tokens=3)))
        assert runner() is not None
        del engine
        gc.collect()
        thread.join(10)
        assert not thread.is_alive()
        until(lambda: gc.collect() >= 0 and runner() is None)

    def test_closing_frees_the_model_even_if_the_engine_is_kept(self):
        engine = make_engine()
        runner = weakref.ref(engine._thread._engine.model_runner)
        list(engine.submit("Hi", SamplingParams(max_tokens=3)))
        engine.close()
        gc.collect()
        assert runner() is None

    def test_a_failed_engine_frees_its_model_even_if_the_error_is_kept(self):
        runner = FakeModelRunner()
        runner.failure = RuntimeError("the weights melted")
        engine, freed = make_engine(runner), weakref.ref(runner)
        with pytest.raises(EngineDeadError) as caught:
            list(engine.submit("Hi", FOREVER))
        engine._thread.join()
        del runner
        gc.collect()
        assert caught.value.__cause__ is not None
        assert caught.value.__cause__.__traceback__ is not None
        assert freed() is None

    def test_a_stream_keeps_its_engine(self):
        stream = make_engine().submit("Hi", SamplingParams(max_tokens=30))
        gc.collect()
        assert last_text(stream) == answer_of(30)

    def test_an_engine_that_sleeps_computes_nothing(self, engine, runner):
        list(engine.submit("Hi", SamplingParams(max_tokens=3)))
        steps = runner.num_steps
        time.sleep(0.05)
        assert runner.num_steps == steps == 3

    def test_books_are_checked_when_it_idles(self, engine):
        def fail():
            raise AssertionError("block 3 is leaked")

        engine._thread._engine.scheduler.check_integrity = fail
        list(engine.submit("Hi", SamplingParams(max_tokens=1)))
        until(lambda: engine.is_closed)
        with pytest.raises(EngineDeadError, match="block 3 is leaked"):
            engine.check_health()


def test_priorities(runner):
    order: list[int] = []

    def record(tokens, num_prompt_tokens, choice_index):
        order.append(tokens[0])
        return repeat_answer(tokens, num_prompt_tokens, choice_index)

    runner.rule = record
    first, low, high = 1, 2, 3
    with make_engine(runner, scheduling_policy="priority", max_num_seqs=1) as engine:
        runner.gate.clear()
        streams = [
            engine.submit([token_id], SamplingParams(max_tokens=2), priority=priority)
            for token_id, priority in ((first, 0), (low, 5), (high, -5))
        ]
        runner.gate.set()
        for stream in streams:
            list(stream)
    assert order.index(high) < order.index(low)


def test_stats_and_prefix_cache(engine):
    list(engine.submit([1] * 41, SamplingParams(max_tokens=4)))
    output = list(engine.submit([1] * 41, SamplingParams(max_tokens=4)))[-1]
    assert output.num_cached_tokens == 40
    stats = engine.stats()
    assert (stats.prompt_tokens_total, stats.generation_tokens_total, stats.prefix_cache_hits) == (82, 8, 40)
    assert engine.reset_prefix_cache()
    assert list(engine.submit([1] * 41, SamplingParams(max_tokens=4)))[-1].num_cached_tokens == 0


def test_reserved_memory_shrinks_as_the_kv_cache_is_used(engine):
    cache = engine.config.kv_cache
    bytes_per_block = cache.memory_bytes // cache.num_blocks
    assert engine.reserved_memory() == cache.memory_bytes
    prompt = {"prompt_token_ids": list(range(5, 15))}
    # Ten tokens and seven, as K and V of an answer's last token are never needed. The second time the prompt's two full
    # blocks are found and the last, half full one is used again; those of the first answer stay cached.
    for num_touched in (5, 7):
        list(engine.submit(prompt, SamplingParams(max_tokens=8)))
        assert engine.reserved_memory() == cache.memory_bytes - num_touched * bytes_per_block
    engine.close()
    assert engine.reserved_memory() == 0


def test_a_kv_cache_elsewhere_reserves_no_main_memory(runner):
    loaded = make_loaded(runner)
    with AsyncLLM.from_loaded(
        dataclasses.replace(loaded, config=dataclasses.replace(loaded.config, device="cuda"))
    ) as engine:
        assert engine.reserved_memory() == 0


def test_default_sampling_params():
    with make_engine(defaults={"temperature": 0.6}) as engine:
        assert engine.default_sampling_params() == SamplingParams(temperature=0.6, max_tokens=None)
        assert engine.default_sampling_params(temperature=0.1, seed=None).temperature == 0.1
        assert list(engine.submit("Hi", engine.default_sampling_params()))[-1].outputs[0].finish_reason == "length"


def check_output(output, params, ends):
    """Every answer ends once, and nothing follows."""
    for item in output.outputs:
        assert item.index not in ends
        if item.finish_reason is not None:
            ends[item.index] = item.finish_reason
    assert output.finished == (len(ends) == params.n)


def test_soak_500_requests_over_a_small_kv_cache():
    """Random lengths, aborts and priorities, from threads and loops; every request ends exactly once."""
    with make_engine(num_blocks=24, max_model_len=80, scheduling_policy="priority") as engine:
        reasons: list[dict[int, str]] = []

        def submit(draw):
            params = SamplingParams(max_tokens=draw.randrange(1, 30), n=draw.choice([1, 1, 2]), output_kind=DELTA)
            prompt = [draw.randrange(20, 24) for _ in range(draw.randrange(1, 50))]
            return engine.submit(prompt, params, priority=draw.randrange(3)), params, draw.random() < 0.2

        def sync(seed):
            stream, params, leaves = submit(random.Random(seed))
            ends: dict[int, str] = {}
            for output in stream:
                check_output(output, params, ends)
                if leaves:
                    stream.abort()
            reasons.append(ends)

        async def ask(seed):
            stream, params, leaves = submit(random.Random(seed))
            ends: dict[int, str] = {}
            async for output in stream:
                check_output(output, params, ends)
                if leaves:
                    stream.abort()
            reasons.append(ends)

        async def ask_many():
            await asyncio.gather(*map(ask, range(250)))

        with ThreadPoolExecutor(33) as pool:
            loop = pool.submit(asyncio.run, ask_many())
            list(pool.map(sync, range(250, 500)))
            loop.result(60)
        assert len(reasons) == 500
        assert {reason for ends in reasons for reason in ends.values()} == {"length", "abort"}
        stats = engine.stats()
        assert stats.num_preemptions > 0
        assert stats.num_requests_aborted > 20
        assert (stats.num_running, stats.num_waiting, stats.kv_cache_usage) == (0, 0, 0.0)
        engine.check_integrity()


START = """
    import os, sys, threading, time
    from tests.engine.engine_fakes import FakeModelRunner, make_engine
    from vllm_local.errors import EngineClosedError
    from vllm_local.sampling_params import SamplingParams
    engine = make_engine(FakeModelRunner(step_seconds=0.002))
    params = SamplingParams(max_tokens=100)
"""


@pytest.mark.parametrize(
    "code",
    [
        "",
        "stream = engine.submit('Hi', params)",
        "stream = engine.submit('Hi', params); next(stream); sys.exit(0)",
        "engine.close()",
        "del engine",
        "thread = threading.Thread(target=lambda: list(engine.submit('Hi', params))); thread.start()",
        "threading.Thread(target=lambda: list(engine.submit('Hi', params)), daemon=True).start(); time.sleep(0.05)",
    ],
)
def test_exit_is_quick_and_quiet(code):
    started = time.monotonic()
    result = run_python(START + "    " + code)
    assert (result.stdout, result.stderr) == ("", "")
    assert time.monotonic() - started < 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_in_a_fork_the_engine_says_so_and_the_parent_s_goes_on():
    result = run_python(
        START
        + """
    import asyncio
    stream, other = engine.submit("Hi", params), engine.submit("Hi", params)
    next(stream)

    def expect(name, call):
        try:
            call()
        except EngineClosedError as error:
            assert "fork" in str(error), error
        else:
            raise AssertionError(name + " should have raised")

    child = os.fork()
    if child == 0:
        try:
            expect("submit", lambda: engine.submit("Hi", params))
            expect("next", lambda: next(stream))
            expect("anext", lambda: asyncio.run(other.__anext__()))
            expect("stats", engine.stats)
            expect("health", engine.check_health)
            expect("generate", lambda: asyncio.run(engine.generate("Hi", params).__anext__()))
            expect("render_async", lambda: asyncio.run(engine.render_async([{"role": "user", "content": "x"}])))
            assert engine.is_closed
            stream.abort(); engine.abort("x"); engine.close(); del stream, other
            own = make_engine()
            assert list(own.submit("Hi", params))[-1].finished
            del engine
        except BaseException:
            import traceback; traceback.print_exc(); os._exit(1)
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert list(stream)[-1].finished and list(other)[-1].finished
    print("ok")
    """
    )
    assert result.stdout == "ok\n"
