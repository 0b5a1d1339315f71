import asyncio
import contextvars
import functools
import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest

from langchain_vllm_local._batching import (
    RequestGroup,
    member_of_current_batch,
    result_for_current_batch,
    run_as_tasks,
    run_concurrently,
)
from langchain_vllm_local._errors import LocalRequestAbortedError


class Request:
    """Runs until it is aborted."""

    def __init__(self):
        self.ended = threading.Event()

    def abort(self):
        self.ended.set()

    def run(self):
        with member_of_current_batch(self):
            assert self.ended.wait(10)


def test_results_come_as_they_complete():
    gate = threading.Event()
    completed = run_concurrently([lambda: gate.wait(10) and "slow", lambda: "fast"], 2)
    assert next(completed) == (1, "fast")
    gate.set()
    assert list(completed) == [(0, "slow")]


def test_no_more_than_the_limit_at_a_time():
    running, peak, lock = set(), [], threading.Lock()

    def call():
        with lock:
            running.add(threading.get_ident())
            peak.append(len(running))
        time.sleep(0.002)
        with lock:
            running.discard(threading.get_ident())

    list(run_concurrently([call] * 12, 3))
    assert max(peak) == 3


def test_calls_see_the_callers_context():
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("mine")
    assert dict(run_concurrently([variable.get] * 2, 2)) == {0: "mine", 1: "mine"}


@pytest.mark.parametrize("leave", ["error", "close"])
def test_leaving_aborts_what_runs_and_drops_what_waits(leave):
    requests = [Request() for _ in range(4)]
    # A call that has not begun when the caller leaves is dropped.
    begun = threading.Barrier(3)

    def first():
        begun.wait(10)
        if leave == "error":
            raise KeyError
        return "first"

    def run(request):
        begun.wait(10)
        request.run()

    running = [functools.partial(run, request) for request in requests[:2]]
    completed: Any = run_concurrently([first, *running, *(request.run for request in requests[2:])], 3)
    if leave == "error":
        with pytest.raises(KeyError):
            list(completed)
    else:
        next(completed)
        completed.close()
    assert all(request.ended.is_set() for request in requests[:2])


def test_a_group_aborts_late_comers():
    group, request = RequestGroup(), Request()
    group.abort()
    with group.member(request):
        assert request.ended.is_set()


def test_a_group_forgets_who_has_left():
    group, request = RequestGroup(), Request()
    with group.member(request):
        pass
    group.abort()
    assert not request.ended.is_set()


def test_outside_a_batch_there_is_no_group():
    request = Request()
    with member_of_current_batch(request):
        pass
    assert not request.ended.is_set()


# ── Waiting for a load ──


def test_the_result_of_a_future_or_its_error():
    done: Future[str] = Future()
    done.set_result("engine")
    assert result_for_current_batch(done) == "engine"
    late: Future[str] = Future()
    threading.Timer(0.02, lambda: late.set_exception(KeyError("why"))).start()
    with pytest.raises(KeyError, match="why"):
        result_for_current_batch(late)


def test_a_batch_that_is_given_up_waits_no_longer():
    never: Future[str] = Future()
    errors = []
    begun = threading.Barrier(3)

    def wait():
        begun.wait(10)
        try:
            result_for_current_batch(never)
        except LocalRequestAbortedError as error:
            errors.append(str(error))

    completed: Any = run_concurrently([lambda: begun.wait(10), wait, wait], 3)
    next(completed)
    completed.close()
    assert errors == ["The batch was given up while the model was loading."] * 2
    assert not never.done()


# ── Tasks ──


async def test_tasks_yield_results_as_they_complete():
    gate = asyncio.Event()

    async def slow():
        await gate.wait()
        return "slow"

    async def fast():
        return "fast"

    completed = run_as_tasks([slow, fast], None)
    assert await completed.__anext__() == (1, "fast")
    gate.set()
    assert [item async for item in completed] == [(0, "slow")]


@pytest.mark.parametrize(("limit", "expected"), [(3, 3), (None, 12)])
async def test_no_more_tasks_than_the_limit_at_a_time(limit, expected):
    running, peak = set(), [0]

    async def call():
        running.add(asyncio.current_task())
        peak.append(len(running))
        await asyncio.sleep(0.001)
        running.discard(asyncio.current_task())

    assert len([item async for item in run_as_tasks([call] * 12, limit)]) == 12
    assert max(peak) == expected


@pytest.mark.parametrize("leave", ["error", "close", "cancel"])
async def test_leaving_ends_the_other_tasks(leave):
    ended = []

    async def first():
        await asyncio.sleep(0)
        if leave == "error":
            raise KeyError
        return "first"

    async def other():
        try:
            await asyncio.sleep(100)
        finally:
            ended.append("other")

    completed: Any = run_as_tasks([first, other, other], None)
    if leave == "error":
        with pytest.raises(KeyError):
            await completed.__anext__()
    else:
        await completed.__anext__()
        if leave == "close":
            await completed.aclose()
        else:
            waiting = asyncio.create_task(completed.__anext__())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
    assert ended == ["other"] * 2
