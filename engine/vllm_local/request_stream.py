"""A running request in its caller's hands: iterate it, with `for` or `async for`, or abort it."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from vllm_local.errors import VLLMLocalError
from vllm_local.output_collector import AsyncWaiter, OutputCollector
from vllm_local.outputs import RequestOutput

_ALIVE_CHECK_SECONDS = 1.0


class StreamOwner(Protocol):
    """The engine behind a stream."""

    def check_process(self) -> None:
        """Raises EngineClosedError in a fork of the engine's process."""

    def watch(self) -> None:
        """Notices an engine thread that has vanished, so that its requests fail."""

    def abort_collector(self, collector: OutputCollector) -> None:
        """Ends a request soon; never raises and never waits."""


class RequestStream:
    """The outputs of one request; for one reader, sync or async, in any thread.

    Leaving it early aborts the request: by `close` or `abort`, at the end of a `with`, when the reader is interrupted
    or its task cancelled while it waits, and when the stream is dropped. At most one further token is generated then.
    Iterating an aborted request still gives what was generated, with finish reason "abort".
    """

    def __init__(self, owner: StreamOwner, collector: OutputCollector) -> None:
        """Belongs to a request that was started.

        Args:
            owner: Its engine, kept alive by the stream.
            collector: Where its outputs come in.
        """
        self._owner = owner
        self._collector = collector

    @property
    def request_id(self) -> str:
        """The request."""
        return self._collector.request_id

    @property
    def num_generated_tokens(self) -> int:
        """Tokens generated for the request by the engine's own count, also after the reader left."""
        return self._collector.num_generated_tokens

    @property
    def is_ended(self) -> bool:
        """Whether the request has ended; there may be outputs left to read."""
        return self._collector.is_ended

    def abort(self) -> None:
        """Ends the request before the next step; from any thread, and from coroutines, since it never waits."""
        if not self._collector.is_ended:
            self._owner.abort_collector(self._collector)

    def close(self) -> None:
        """The same as `abort`."""
        self.abort()

    async def aclose(self) -> None:
        """The same as `abort`."""
        self.abort()

    def poll(self, timeout: float) -> RequestOutput | None:
        """Returns the next output, or None if there is none within `timeout` seconds.

        Raises:
            EngineError: The engine ended first.
            StopIteration: The last output was returned.
        """
        self._owner.check_process()
        try:
            return self._collector.wait(timeout)
        except (VLLMLocalError, StopIteration):
            raise
        except BaseException:  # KeyboardInterrupt
            self.abort()
            raise

    def __iter__(self) -> RequestStream:
        return self

    def __next__(self) -> RequestOutput:
        while True:
            output = self.poll(_ALIVE_CHECK_SECONDS)
            if output is not None:
                return output
            self._owner.watch()

    def __aiter__(self) -> RequestStream:
        return self

    async def __anext__(self) -> RequestOutput:
        self._owner.check_process()
        while True:
            try:
                output = self._collector.take()
            except StopIteration:
                raise StopAsyncIteration from None
            if output is not None:
                return output
            await self._wait()

    async def _wait(self) -> None:
        waiter = AsyncWaiter()
        if not self._collector.add_waiter(waiter):
            return
        try:
            await waiter.future
        except BaseException:  # CancelledError
            self.abort()
            raise
        finally:
            self._collector.drop_waiter(waiter)

    def __enter__(self) -> RequestStream:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    async def __aenter__(self) -> RequestStream:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def __del__(self) -> None:
        self.abort()
