"""Server-sent events: a response that ends its work when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vllm_local.server.disconnect import cancel, wait_for_disconnect
from vllm_local.server.json_response import dump_json

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


def event(content: object) -> bytes:
    """Returns one event with JSON in it."""
    return b"data: " + dump_json(content) + b"\n\n"


def named_event(name: str, content: object) -> bytes:
    """Returns one event that has a name, as Anthropic's and the Responses API's do."""
    return b"event: " + name.encode() + b"\n" + event(content)


class EventStream(Response):
    """Sends events as they come; whatever its end, the generator is closed and `on_close` called."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        *,
        on_close: Callable[[], None],
        keep_alive_interval: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Takes what to send.

        Args:
            events: Encoded events; one or more at a time.
            on_close: Frees what the events come from; called even where not one of them was asked for.
            keep_alive_interval: Seconds of silence after which a comment is sent; None: never.
            headers: More headers.
        """
        self.status_code = 200
        self.background = None
        self._events = events
        self._on_close = on_close
        self._keep_alive_interval = keep_alive_interval
        # A proxy that buffers would turn the stream into one piece.
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Sends everything, or as much as the client waits for."""
        sender = asyncio.ensure_future(self._send_all(send))
        watcher = asyncio.ensure_future(wait_for_disconnect(receive))
        try:
            await asyncio.wait({sender, watcher}, return_when=asyncio.FIRST_COMPLETED)
            if sender.done():
                sender.result()
        finally:
            self._on_close()
            await cancel(sender, watcher)
            await self._events.aclose()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._keep_alive_interval is None:
            async for data in self._events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        else:
            await self._send_with_comments(send, self._keep_alive_interval)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_with_comments(self, send: Send, interval: float) -> None:
        following: asyncio.Future[bytes] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(self._events))
                done, _ = await asyncio.wait({following}, timeout=interval)
                data = KEEP_ALIVE
                if done:
                    data, following = following.result(), None
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except StopAsyncIteration:
            return
        finally:
            if following is not None:
                await cancel(following)
