"""The event loop on which all requests to servers run, in a thread of its own, whoever makes them.

A client of asyncio belongs to one loop, and callers come from many, one after another (`asyncio.run` twice in a
script) or from none. Here they all share one client and its connections, and a sync caller's request can be given up
from another thread, which a read from a socket cannot.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import aclosing
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

_STOP_SECONDS = 2.0


class HTTPLoop:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        """Starts it."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm-local-http", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, Item]) -> Future[Item]:
        """Runs something there; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self) -> None:
        """Gives up what runs there, at the end of the process."""
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop)
        self._thread.join(_STOP_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=_STOP_SECONDS / 2) if others else None
        self._loop.stop()


# Keyed by process id: threads do not survive a fork.
_LOOPS: dict[int, HTTPLoop] = {}
_LOCK = threading.Lock()


def _renew_lock() -> None:
    global _LOCK  # noqa: PLW0603 - some thread of the parent may have held it
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def process_loop() -> HTTPLoop:
    """Returns this process's loop."""
    with _LOCK:
        loop = _LOOPS.get(os.getpid())
        if loop is None:
            loop = _LOOPS[os.getpid()] = HTTPLoop()
            atexit.register(_stop, os.getpid())
    return loop


def _stop(process_id: int) -> None:
    if process_id == os.getpid() and process_id in _LOOPS:
        _LOOPS.pop(process_id).stop()


class RelayAbortedError(Exception):
    """The request was given up before it was complete."""


class _End:
    """What a relay's queue holds last."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Relay(Generic[Item]):
    """What a generator on the loop yields, for one reader in any thread or on any other loop.

    Attributes:
        request_id: Names the request in messages and in the server's log.
    """

    def __init__(self, loop: HTTPLoop, source: AsyncGenerator[Item, None], request_id: str | None = None) -> None:
        """Starts the generator."""
        self.request_id = request_id or f"chatcmpl-{uuid.uuid4().hex}"
        self._news: SimpleQueue[Item | _End] = SimpleQueue()
        self._waker: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._end: _End | None = None
        self._future = loop.submit(self._pump(source))

    def abort(self) -> None:
        """Ends the request; harmless if it has ended."""
        self._future.cancel()

    def __enter__(self) -> Relay[Item]:
        """Returns itself."""
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Aborts the request if it runs."""
        self.abort()

    def __iter__(self) -> Iterator[Item]:
        """Yields the items.

        Raises:
            RelayAbortedError: The request was aborted.
        """
        while self._end is None:
            item = self._news.get()
            if not isinstance(item, _End):
                yield item
                continue
            self._end = item
        self._check_end()

    async def __aiter__(self) -> AsyncIterator[Item]:
        """The same without blocking the event loop."""
        event = asyncio.Event()
        self._waker = (asyncio.get_running_loop(), event)
        while self._end is None:
            try:
                item = self._news.get_nowait()
            except Empty:
                await event.wait()
                event.clear()
                continue
            if not isinstance(item, _End):
                yield item
                continue
            self._end = item
        self._check_end()

    def _check_end(self) -> None:
        error = self._end.error if self._end else None
        if isinstance(error, asyncio.CancelledError):
            raise RelayAbortedError from error
        if error is not None:
            raise error

    async def _pump(self, source: AsyncGenerator[Item, None]) -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    self._put(item)
        except BaseException as error:
            self._put(_End(error))
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            self._put(_End(None))

    def _put(self, item: Item | _End) -> None:
        self._news.put(item)
        if self._waker is not None:
            loop, event = self._waker
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # the reader's loop is closed: nobody waits
                self._waker = None
