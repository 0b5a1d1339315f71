import asyncio
import sys
import threading

import pytest

from tests.engine.engine_fakes import run_python
from vllm_local.errors import EngineDeadError
from vllm_local.output_collector import AsyncWaiter, ChoiceDelta, OutputCollector, wake
from vllm_local.outputs import Logprob
from vllm_local.sampling_params import RequestOutputKind


def make_collector(kind=RequestOutputKind.CUMULATIVE, n=1):
    return OutputCollector(
        request_id="r",
        choice_ids=[f"r.{index}" for index in range(n)],
        prompt="Hi",
        prompt_token_ids=[1, 2],
        output_kind=kind,
    )


def delta(text, *token_ids, index=0, finish_reason=None, **more):
    return ChoiceDelta(index=index, text=text, token_ids=list(token_ids), finish_reason=finish_reason, **more)


def shown(output):
    return [(item.index, item.text, item.token_ids, item.finish_reason) for item in output.outputs]


def test_cumulative_outputs_hold_all_so_far():
    collector = make_collector()
    assert collector.take() is None
    collector.add(delta("a", 1))
    first = collector.take()
    collector.add(delta("b", 2, 3, finish_reason="stop", stop_reason="x", num_cached_tokens=1))
    second = collector.take()
    assert shown(first) == [(0, "a", [1], None)]
    assert shown(second) == [(0, "ab", [1, 2, 3], "stop")]
    assert not first.finished
    assert second.finished
    assert second.outputs[0].stop_reason == "x"
    assert (second.request_id, second.prompt, second.prompt_token_ids) == ("r", "Hi", [1, 2])
    assert second.num_cached_tokens == 1
    with pytest.raises(StopIteration):
        collector.take()


def test_deltas_hold_what_is_new_and_merge_for_a_slow_reader():
    collector = make_collector(RequestOutputKind.DELTA, n=2)
    collector.add(delta("a", 1))
    collector.add(delta("b", 2))
    assert shown(collector.take()) == [(0, "ab", [1, 2], None)]
    assert collector.take() is None
    collector.add(delta("c", 3, finish_reason="length"))
    collector.add(delta("z", 9, index=1, finish_reason="stop"))
    last = collector.take()
    assert shown(last) == [(0, "c", [3], "length"), (1, "z", [9], "stop")]
    assert last.finished


def test_final_only_says_nothing_before_the_end():
    collector = make_collector(RequestOutputKind.FINAL_ONLY, n=2)
    collector.add(delta("a", 1, finish_reason="stop"))
    assert collector.take() is None
    collector.add(delta("b", 2, index=1))
    assert collector.take() is None
    collector.add(delta("c", 3, index=1, finish_reason="length"))
    assert shown(collector.take()) == [(0, "a", [1], "stop"), (1, "bc", [2, 3], "length")]


@pytest.mark.parametrize(
    ("kind", "lengths"), [(RequestOutputKind.DELTA, [1, 1]), (RequestOutputKind.CUMULATIVE, [1, 2])]
)
def test_logprobs(kind, lengths):
    collector, outputs = make_collector(kind), []
    for token_id in (4, 5):
        logprobs = [{token_id: Logprob(-1.5, 1, "x")}]
        collector.add(delta("x", token_id, logprobs=logprobs, sampled_logprobs=[-1.5]))
        outputs.append(collector.take().outputs[0])
    assert [len(output.logprobs) for output in outputs] == lengths
    assert [output.cumulative_logprob for output in outputs] == [-1.5, -3.0]
    assert 5 in outputs[1].logprobs[-1]


def test_outputs_already_taken_do_not_change():
    collector = make_collector()
    collector.add(delta("a", 1))
    first = collector.take()
    collector.add(delta("b", 2))
    collector.take()
    assert shown(first) == [(0, "a", [1], None)]


def test_an_error_ends_a_request_once():
    collector, ends = make_collector(), []
    collector.on_end = lambda: ends.append(1)
    collector.fail(EngineDeadError("first"))
    collector.fail(EngineDeadError("second"))
    collector.add(delta("late", 1))
    for _ in range(2):
        with pytest.raises(EngineDeadError, match="first"):
            collector.take()
    assert ends == [1]


def test_an_error_after_the_end_changes_nothing():
    collector = make_collector()
    collector.add(delta("a", 1, finish_reason="stop"))
    collector.fail(EngineDeadError("late"))
    assert collector.take().finished


def test_a_sync_reader_is_woken():
    collector = make_collector()
    threading.Timer(0.02, lambda: collector.add(delta("a", 1))).start()
    assert collector.wait(10).outputs[0].text == "a"
    assert collector.wait(0.01) is None


def test_async_readers_in_two_loops_are_woken_and_closed_loops_do_no_harm():
    collector = make_collector()
    started = threading.Barrier(3)
    woken = []

    async def read():
        waiter = AsyncWaiter()
        assert collector.add_waiter(waiter)
        started.wait(5)
        await asyncio.wait_for(waiter.future, 5)
        woken.append(1)

    async def leave():
        collector.add_waiter(AsyncWaiter())

    asyncio.run(leave())
    threads = [threading.Thread(target=lambda: asyncio.run(read())) for _ in range(2)]
    for thread in threads:
        thread.start()
    started.wait(5)
    wake(collector.add(delta("a", 1)))
    for thread in threads:
        thread.join(5)
    assert woken == [1, 1]


async def test_a_waiter_is_not_needed_where_there_is_news():
    collector = make_collector()
    collector.add(delta("a", 1))
    assert not collector.add_waiter(AsyncWaiter())
    collector.take()
    waiter = AsyncWaiter()
    assert collector.add_waiter(waiter)
    collector.drop_waiter(waiter)
    collector.drop_waiter(waiter)
    assert collector.add(delta("b", 2)) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_ctrl_c_in_a_reader_leaves_nothing_locked():
    code = """
        import random, signal, threading, time
        from vllm_local.output_collector import ChoiceDelta, OutputCollector
        from vllm_local.sampling_params import RequestOutputKind

        def interrupt():
            time.sleep(random.random() * 0.005)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        for _ in range(250):  # without the remedy, one in fifty fails
            collector = OutputCollector(
                request_id="a", choice_ids=["a"], prompt=None, prompt_token_ids=[1], output_kind=RequestOutputKind.DELTA
            )
            is_over = threading.Event()

            def write(collector=collector, is_over=is_over):
                while not is_over.is_set():
                    collector.add(ChoiceDelta(0, "x", [1]))

            writer, killer = threading.Thread(target=write, daemon=True), threading.Thread(target=interrupt)
            try:
                writer.start()
                killer.start()
                while killer.is_alive():  # Python may lose an interrupt, in a finalizer for one
                    collector.wait(1.0)
            except KeyboardInterrupt:
                killer.join()
            is_over.set()
            writer.join(5)
            assert not writer.is_alive(), "the reader went away with the lock"
    """
    run_python(code)


PROMPT_LOGPROBS = [None, {2: Logprob(-1.0, 1, "x")}]


def test_prompt_logprobs_are_on_every_cumulative_output_and_on_one_delta():
    seen = {}
    for kind in RequestOutputKind:
        collector = make_collector(kind, n=2)
        outputs = []
        for item in (
            delta("a", 1, prompt_logprobs=PROMPT_LOGPROBS),
            delta("b", 2, index=1, finish_reason="length"),
            delta("c", 3, finish_reason="length"),
        ):
            collector.add(item)
            outputs.append(collector.take())
        seen[kind] = [output.prompt_logprobs for output in outputs if output is not None]
    assert seen == {
        RequestOutputKind.CUMULATIVE: [PROMPT_LOGPROBS] * 3,
        RequestOutputKind.DELTA: [PROMPT_LOGPROBS, None, None],
        RequestOutputKind.FINAL_ONLY: [PROMPT_LOGPROBS],
    }
