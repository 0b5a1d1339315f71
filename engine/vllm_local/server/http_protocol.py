"""Connections that hang: uvicorn waits for a request's head, and for a reader, without end."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class HTTPProtocol(H11Protocol):
    """HTTP/1.1 with an end to waiting; bodies have theirs in `BodyLimit`, idle connections in uvicorn.

    Attributes:
        header_timeout: Seconds from a head's first byte, or the connection's beginning, to the head's end.
        send_timeout: Seconds in which a client takes nothing of an answer that waits to be sent.
    """

    header_timeout: float
    send_timeout: float

    _head_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None

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
        self._send_timer = self.loop.call_later(self.send_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._send_timer = _stop(self._send_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits for nothing any more."""
        self._head_timer = _stop(self._head_timer)
        self._send_timer = _stop(self._send_timer)
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        """Starts the clock unless it runs: further bytes give no further time."""
        if not self._awaits_head():
            self._head_timer = _stop(self._head_timer)
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.header_timeout, self.transport.close)

    def _awaits_head(self) -> bool:
        ours, theirs = self.conn.our_state, self.conn.their_state
        # The rest of a body that was refused stands before the next head.
        return theirs is h11.IDLE or (theirs is h11.SEND_BODY and ours is h11.DONE)


def http_protocol(header_timeout: float, send_timeout: float) -> type[HTTPProtocol]:
    """Returns the protocol with its timeouts; uvicorn makes an instance for each connection."""
    return type("HTTPProtocol", (HTTPProtocol,), {"header_timeout": header_timeout, "send_timeout": send_timeout})


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
