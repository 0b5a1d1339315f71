"""Many conversations at once from one caller: a thread or a task for each, and one way to end them together.

They only wait: the engine computes all their requests in one continuous batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar, cast

from langchain_core.runnables.config import ContextThreadPoolExecutor

from langchain_vllm_local._errors import LocalRequestAbortedError

Result = TypeVar("Result")


class Abortable(Protocol):
    """A request that can be given up."""

    def abort(self) -> None:
        """Ends the request; harmless if it has ended."""


class RequestGroup:
    """Requests that end together when the caller of a batch goes away."""

    def __init__(self) -> None:
        """Makes an empty group."""
        self._lock = threading.Lock()
        self._requests: set[Abortable] = set()
        self._aborted = False

    @contextlib.contextmanager
    def member(self, request: Abortable) -> Iterator[None]:
        """Counts the request in for as long as the block runs; a group that was aborted aborts it at once."""
        with self._lock:
            self._requests.add(request)
            aborted = self._aborted
        if aborted:
            request.abort()
        try:
            yield
        finally:
            with self._lock:
                self._requests.discard(request)

    def abort(self) -> None:
        """Aborts every member, also those to come."""
        with self._lock:
            self._aborted = True
            requests = list(self._requests)
        for request in requests:
            request.abort()


# Travels with the context that LangChain copies into its threads, so that a request finds the batch it is part of.
_current_group: ContextVar[RequestGroup | None] = ContextVar("vllm_local_request_group", default=None)


def member_of_current_batch(request: Abortable) -> contextlib.AbstractContextManager[None]:
    """Lets the request end with the batch that the calling thread works for, if there is one."""
    group = _current_group.get()
    return group.member(request) if group else contextlib.nullcontext()


class _Wait:
    """A wait for something that others may want too; giving it up leaves that alone."""

    def __init__(self, future: Future[Any]) -> None:
        # Reading this queue takes no lock that Ctrl-C could leave behind.
        self._news: SimpleQueue[object] = SimpleQueue()
        future.add_done_callback(self._news.put)

    def abort(self) -> None:
        self._news.put(None)

    def end(self) -> None:
        self._news.get()


def result_for_current_batch(future: Future[Result]) -> Result:
    """Waits for a future while the batch that the calling thread works for goes on.

    Raises:
        LocalRequestAbortedError: The batch was given up first.
    """
    if not future.done():
        wait = _Wait(future)
        with member_of_current_batch(wait):
            wait.end()
    if not future.done():
        raise LocalRequestAbortedError("The batch was given up while the model was loading.")
    return future.result()


def run_concurrently(calls: Sequence[Callable[[], Result]], max_workers: int) -> Iterator[tuple[int, Result]]:
    """Runs the calls in threads and yields results as they complete.

    If a call fails, or the caller stops iterating (Ctrl-C included), the calls that have not begun are dropped and
    the requests of the others are aborted.

    Args:
        calls: What to run; each gets a copy of the caller's context.
        max_workers: Most calls that run at a time.

    Yields:
        The call's index and its result.
    """
    group = RequestGroup()
    # Unlike waiting for futures, reading this queue takes no lock that Ctrl-C could leave behind.
    outcomes: SimpleQueue[tuple[int, Result | None, BaseException | None]] = SimpleQueue()
    with ContextThreadPoolExecutor(max_workers=min(max_workers, len(calls))) as executor:
        token = _current_group.set(group)
        try:
            futures = [executor.submit(_report, call, index, outcomes) for index, call in enumerate(calls)]
        finally:
            _current_group.reset(token)
        try:
            for _ in futures:
                index, result, error = outcomes.get()
                if error is not None:
                    raise error
                yield index, cast("Result", result)
        except BaseException:
            for future in futures:
                future.cancel()
            group.abort()
            raise


def _report(
    call: Callable[[], Result], index: int, outcomes: SimpleQueue[tuple[int, Result | None, BaseException | None]]
) -> None:
    try:
        outcomes.put((index, call(), None))
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever reads the queue
        outcomes.put((index, None, error))


async def run_as_tasks(
    calls: Sequence[Callable[[], Coroutine[Any, Any, Result]]], max_tasks: int | None
) -> AsyncGenerator[tuple[int, Result], None]:
    """Runs the calls in tasks of the running event loop and yields results as they complete.

    If a call fails, or the caller is cancelled or stops iterating, the other calls are cancelled, and have ended when
    this generator has: those of `asyncio.gather` and `as_completed` would run on, with nobody to hear their answers.

    Args:
        calls: What to run; each gets a copy of the caller's context.
        max_tasks: Most calls that run at a time; None sets no limit.

    Yields:
        The call's index and its result.
    """
    places = asyncio.Semaphore(max_tasks) if max_tasks else contextlib.nullcontext()

    async def numbered(index: int, call: Callable[[], Coroutine[Any, Any, Result]]) -> tuple[int, Result]:
        async with places:
            return index, await call()

    tasks = [asyncio.create_task(numbered(index, call)) for index, call in enumerate(calls)]
    try:
        for completed in asyncio.as_completed(tasks):
            yield await completed
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
