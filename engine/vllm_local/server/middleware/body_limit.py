"""A request's body neither grows, nor branches, nor drags on without end."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vllm_local.server.errors import answer_http_error

_CLOSE = {"Connection": "close"}
"""The rest of the body may never come, so the connection cannot be used again."""
_BYTES_A_SECOND = 4096
"""What a body must come at, on the whole: a byte now and then would hold a connection for years."""
_MAX_DIGITS = 20
_MARKS = (b",", b":", b"[", b"{", b"\\")
"""What separates JSON's values and opens them, and what makes characters of a text dear."""
MAX_MARKS = 2**19
"""Parsing and checking them takes a fraction of a second, in which nothing else runs: both hold the interpreter lock,
in any thread. Texts have a mark in ten characters at most, and prompts that fit a context are shorter than this."""


class BodyLimit:
    """Answers 413 to a body that is too large or has too many values, and 408 to one that stops coming, or trickles."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout: float) -> None:
        """Takes the limits.

        Args:
            app: What follows.
            max_bytes: Largest body.
            timeout: Seconds for a body, and one more for each 4 KiB of it.
        """
        self._app = app
        self._max_bytes = max_bytes
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, with an eye on its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _announced_size(scope) > self._max_bytes:
            response = await answer_http_error(Request(scope), self._too_large())
            await response(scope, receive, send)
            return
        await self._app(scope, self._watched(receive), send)

    def _watched(self, receive: Receive) -> Receive:
        num_bytes, num_marks, is_complete, deadline = 0, 0, False, time.monotonic() + self._timeout

        async def watched() -> Message:
            nonlocal num_bytes, num_marks, is_complete
            if is_complete:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), deadline + num_bytes / _BYTES_A_SECOND - time.monotonic())
            except asyncio.TimeoutError:
                detail = f"The request's body did not come within {self._timeout:g} seconds and one for each 4 KiB."
                raise HTTPException(408, detail, _CLOSE) from None
            piece = message.get("body", b"")
            num_bytes += len(piece)
            num_marks += sum(map(piece.count, _MARKS))
            is_complete = not message.get("more_body", False)
            if num_bytes > self._max_bytes:
                raise self._too_large()
            if num_marks > MAX_MARKS:
                raise _too_many_values()
            return message

        return watched

    def _too_large(self) -> HTTPException:
        detail = f"The request's body is larger than the {self._max_bytes} bytes that this server takes."
        # The connection stays: closed while the client still sends, it would be reset, and the answer lost with it.
        return HTTPException(413, detail)


def _too_many_values() -> HTTPException:
    detail = (
        f"The request's body has more than {MAX_MARKS} commas, colons, opening brackets and backslashes, the most that "
        "this server reads. Send fewer prompts or messages at a time."
    )
    return HTTPException(413, detail)


def _announced_size(scope: Scope) -> int:
    """Returns what Content-Length says; 0 where there is none, or none that is a number."""
    text = Headers(scope=scope).get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < _MAX_DIGITS else 0
