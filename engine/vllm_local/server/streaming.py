"""From the engine's deltas to a stream of chunks: what OpenAI's two completion routes have in common."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from typing import Any, Protocol

from vllm_local.server.context import ServerContext
from vllm_local.server.errors import body_of
from vllm_local.server.event_stream import DONE, EventStream, event
from vllm_local.server.generation import PromptOutput


class Source(Protocol):
    """Where deltas come from: `Generations`, mostly."""

    def outputs(self) -> AsyncGenerator[PromptOutput, None]:
        """Yields what is new."""

    def close(self) -> None:
        """Ends what has not ended; may be called twice."""


class Chunks(Protocol):
    """Turns deltas into a stream's chunks; plain data, no I/O."""

    def begin(self) -> Iterator[dict[str, Any]]:
        """Yields what comes before the first delta."""

    def add(self, index: int, output: Any) -> Iterator[dict[str, Any]]:
        """Yields what there is to say of a delta of a prompt."""

    def end(self) -> Iterator[dict[str, Any]]:
        """Yields what comes after the last delta."""


async def open_stream(context: ServerContext, source: Source, chunks: Chunks) -> EventStream:
    """Returns a stream whose first delta is there, so that whatever is wrong with the request was found before.

    Raises:
        VLLMLocalError: Something is; an ordinary answer can say so.
    """
    outputs = source.outputs()
    try:
        first = await anext(outputs)
    except BaseException:
        source.close()
        raise
    return EventStream(
        _events(first, outputs, chunks),
        on_close=source.close,
        keep_alive_interval=context.settings.sse_keep_alive_interval,
    )


async def _events(
    first: PromptOutput, outputs: AsyncGenerator[PromptOutput, None], chunks: Chunks
) -> AsyncGenerator[bytes, None]:
    try:
        async with contextlib.aclosing(outputs):
            yield _encode([*chunks.begin(), *chunks.add(*first)])
            async for data in _rest(outputs, chunks):
                yield data
    except Exception as error:  # noqa: BLE001 - the status has been sent; what is wrong can only be said here
        yield event(body_of(error))
    yield DONE


async def _rest(outputs: AsyncIterator[PromptOutput], chunks: Chunks) -> AsyncIterator[bytes]:
    async for item in outputs:
        data = _encode(chunks.add(*item))
        if data:
            yield data
    data = _encode(chunks.end())
    if data:
        yield data


def _encode(chunks: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(event(chunk) for chunk in chunks)
