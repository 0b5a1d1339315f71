"""Connections that hang: uvicorn waits for a request's head, and for a reader, without end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class Timer:
    """A call that comes unless it is stopped first."""

    _handle: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop, seconds: float, callback: Callable[[], object]) -> None:
        """Starts the clock, unless it runs: whoever is waited for gets no further time by a further byte."""
        if self._handle is None:
            self._handle = loop.call_later(seconds, callback)

    def stop(self) -> None:
        """Stops it, if it runs."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class HTTPProtocol(H11Protocol):
    """HTTP/1.1 with an end to waiting; bodies have theirs in `BodyLimit`, idle connections in uvicorn.

    Attributes:
        header_timeout: Seconds from a head's first byte, or the connection's beginning, to the head's end.
        send_timeout: Seconds in which a client takes nothing of an answer that waits to be sent.
    """

    header_timeout: float
    send_timeout: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what uvicorn gives each connection."""
        super().__init__(*args, **kwargs)
        self._head_timer, self._send_timer = Timer(), Timer()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first request."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Takes in a piece, after which a head is complete, or is still being waited for."""
        super().data_received(data)
        self._watch_head()

    def pause_writing(self) -> None:
        """The client has stopped reading."""
        super().pause_writing()
        self._send_timer.start(self.loop, self.send_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._send_timer.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits for nothing any more."""
        self._head_timer.stop()
        self._send_timer.stop()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if self._awaits_head():
            self._head_timer.start(self.loop, self.header_timeout, self.transport.close)
        else:
            self._head_timer.stop()

    def _awaits_head(self) -> bool:
        ours, theirs = self.conn.our_state, self.conn.their_state
        # The rest of a body that was refused stands before the next head.
        return theirs is h11.IDLE or (theirs is h11.SEND_BODY and ours is h11.DONE)


def http_protocol(header_timeout: float, send_timeout: float) -> type[HTTPProtocol]:
    """Returns the protocol with its timeouts; uvicorn makes an instance for each connection."""
    return type("HTTPProtocol", (HTTPProtocol,), {"header_timeout": header_timeout, "send_timeout": send_timeout})
