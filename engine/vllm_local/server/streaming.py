"""From the engine's deltas to a stream of events: what all routes that stream have in common."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from vllm_local.server.context import ServerContext
from vllm_local.server.event_stream import DONE, EventStream, event, named_event
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

    def fail(self, error: Exception) -> Iterator[dict[str, Any]]:
        """Yields what tells of an error in mid-stream."""


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """How chunks become events.

    Attributes:
        encode: Makes one event of a chunk.
        done: What ends every stream.
    """

    encode: Callable[[dict[str, Any]], bytes]
    done: bytes


OPENAI_FORMAT = StreamFormat(event, DONE)
"""Events without names, ended by [DONE]."""
NAMED_FORMAT = StreamFormat(lambda chunk: named_event(chunk["type"], chunk), b"")
"""Events named by their types, as Anthropic's and those of OpenAI's Responses API."""


async def open_stream(
    context: ServerContext, source: Source, chunks: Chunks, form: StreamFormat = OPENAI_FORMAT
) -> EventStream:
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
        _events(first, outputs, chunks, form),
        on_close=source.close,
        keep_alive_interval=context.settings.sse_keep_alive_interval,
    )


async def _events(
    first: PromptOutput, outputs: AsyncGenerator[PromptOutput, None], chunks: Chunks, form: StreamFormat
) -> AsyncGenerator[bytes, None]:
    try:
        async with contextlib.aclosing(outputs):
            yield _encode([*chunks.begin(), *chunks.add(*first)], form)
            async for new in _rest(outputs, chunks):
                data = _encode(new, form)
                if data:
                    yield data
    except Exception as error:  # noqa: BLE001 - the status has been sent; what is wrong can only be said here
        yield _encode(chunks.fail(error), form)
    if form.done:
        yield form.done


async def _rest(outputs: AsyncIterator[PromptOutput], chunks: Chunks) -> AsyncIterator[Iterator[dict[str, Any]]]:
    async for item in outputs:
        yield chunks.add(*item)
    yield chunks.end()


def _encode(chunks: Iterable[dict[str, Any]], form: StreamFormat) -> bytes:
    return b"".join(form.encode(chunk) for chunk in chunks)
