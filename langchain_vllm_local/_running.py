"""One request while somebody waits for it: ended with its caller, its batch or its time, whichever comes first."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Protocol

from langchain_vllm_local._batching import member_of_current_batch
from langchain_vllm_local._errors import LocalRequestAbortedError, LocalTimeoutError
from vllm_local.outputs import RequestOutput

StartTimer = Callable[[float, Callable[[], None]], Callable[[], None]]
"""Takes seconds and what to call then; returns what cancels it."""


class Abortable(Protocol):
    """A request, in the engine or over HTTP, as far as watching it needs it."""

    @property
    def request_id(self) -> str:
        """The request."""

    def abort(self) -> None:
        """Ends the request soon; harmless if it has ended."""

    def __enter__(self) -> Any: ...

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Aborts the request if it runs."""


class RequestStream(Abortable, Protocol):
    """The engine's stream of a request's outputs."""

    def __iter__(self) -> Iterator[RequestOutput]: ...

    def __aiter__(self) -> AsyncIterator[RequestOutput]: ...


class RunningRequest:
    """A request and its deadline.

    Attributes:
        stream: The request.
        timeout: Seconds it may take in all, or None.
    """

    def __init__(self, stream: Abortable, timeout: float | None) -> None:
        """Notes the request; `running` watches it."""
        self.stream = stream
        self.timeout = timeout
        self._expired = False

    def expire(self) -> None:
        """Ends the request because its time is up."""
        self._expired = True
        self.stream.abort()

    def checked(self, output: RequestOutput | None) -> RequestOutput:
        """Returns the request's last output if it is a complete answer.

        Raises:
            LocalTimeoutError: The request was aborted because its time was up.
            LocalRequestAbortedError: It was aborted for another reason. Half an answer is none: it must not end up
                in a cache.
        """
        if output is not None and output.finished and not _is_aborted(output):
            return output
        raise self.abort_error()

    def abort_error(self) -> LocalTimeoutError | LocalRequestAbortedError:
        """Returns what its caller is told of a request that was aborted."""
        if self._expired:
            message = f"The request took longer than its timeout of {self.timeout} seconds and was aborted."
            return LocalTimeoutError(f"{message} Ask for fewer max_tokens, or raise timeout.")
        message = f"The request {self.stream.request_id} was aborted before its answer was complete."
        return LocalRequestAbortedError(message)

    def checked_so_far(self, output: RequestOutput) -> RequestOutput:
        """Returns an output of a stream unless it says that the request was aborted."""
        return self.checked(output) if output.finished else output


def _is_aborted(output: RequestOutput) -> bool:
    return any(answer.finish_reason == "abort" for answer in output.outputs)


@contextlib.contextmanager
def running(stream: Abortable, timeout: float | None, start_timer: StartTimer) -> Iterator[RunningRequest]:
    """Watches a request while the block runs, and aborts it if the block ends before it.

    Args:
        stream: The request that was submitted.
        timeout: Seconds it may take in all, or None.
        start_timer: `thread_timer` where the caller blocks, `loop_timer` on an event loop.

    Yields:
        The request under watch.
    """
    request = RunningRequest(stream, timeout)
    with stream, member_of_current_batch(stream), contextlib.ExitStack() as stack:
        if timeout is not None:
            stack.callback(start_timer(timeout, request.expire))
        yield request


def thread_timer(seconds: float, expire: Callable[[], None]) -> Callable[[], None]:
    """Calls `expire` from a thread of its own; for callers that block."""
    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    return timer.cancel


def loop_timer(seconds: float, expire: Callable[[], None]) -> Callable[[], None]:
    """Calls `expire` on the running event loop."""
    return asyncio.get_running_loop().call_later(seconds, expire).cancel
