"""A request's prompts with the engine: started together, read as one stream of deltas, ended together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import TypeAlias

from vllm_local.outputs import RequestOutput
from vllm_local.request_stream import RequestStream
from vllm_local.sampling_params import SamplingParams
from vllm_local.server.admission import Ticket
from vllm_local.server.context import ServerContext
from vllm_local.server.metrics import RequestRecord

PromptOutput: TypeAlias = tuple[int, RequestOutput]
"""What is new, and for which of the prompts."""


class Generation:
    """One prompt's answers as deltas, which are counted on their way."""

    def __init__(self, stream: RequestStream, ticket: Ticket, record: RequestRecord) -> None:
        """Belongs to a started request; see `start`."""
        self._stream = stream
        self._ticket = ticket
        self._record = record

    @classmethod
    async def start(
        cls,
        context: ServerContext,
        token_ids: Sequence[int],
        params: SamplingParams,
        *,
        priority: int = 0,
        cache_salt: str | None = None,
    ) -> Generation:
        """Starts one.

        Raises:
            InvalidRequestError: The prompt or the parameters do not fit the model.
            QueueFullError: Too many wait.
            EngineError: The engine has ended.
        """
        ticket = context.admission.enter(params.n, len(token_ids))
        record = context.metrics.begin(params)
        options = {"priority": priority, "cache_salt": cache_salt}
        try:
            stream = await context.engine.submit_async({"prompt_token_ids": token_ids}, params, **options)
        except BaseException as error:
            ticket.leave()
            if isinstance(error, asyncio.CancelledError):
                record.end()  # started or not, its client has left
            raise
        return cls(stream, ticket, record)

    def close(self) -> None:
        """Ends it, if it has not ended; may be called twice."""
        self._end(failed=False)

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> RequestOutput:
        try:
            output = await self._stream.__anext__()
        except Exception as error:
            self._end(failed=not isinstance(error, StopAsyncIteration))
            raise
        self._ticket.begin()
        self._record.add(output)
        return output

    def _end(self, *, failed: bool) -> None:
        self._stream.abort()
        self._ticket.leave()
        self._record.end(failed=failed)


class Generations:
    """One or more prompts of one request."""

    def __init__(self, generations: Sequence[Generation]) -> None:
        """Takes started ones; see `start`."""
        self._generations = generations

    @classmethod
    async def start(
        cls,
        context: ServerContext,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        *,
        priority: int = 0,
        cache_salt: str | None = None,
    ) -> Generations:
        """Starts all or none; errors as for one."""
        started: list[Generation] = []
        try:
            for token_ids in prompts:
                generation = await Generation.start(
                    context, token_ids, params, priority=priority, cache_salt=cache_salt
                )
                started.append(generation)
        except BaseException:
            for generation in started:
                generation.close()
            raise
        return cls(started)

    def close(self) -> None:
        """Ends what has not ended; may be called twice."""
        for generation in self._generations:
            generation.close()

    async def outputs(self) -> AsyncGenerator[PromptOutput, None]:
        """Yields what is new, prompt by prompt as it comes.

        Raises:
            EngineError: The engine could not go on.
        """
        if len(self._generations) == 1:
            async for output in self._generations[0]:
                yield 0, output
            return
        # Two places a prompt: a reader that falls behind lets the engine merge instead of filling memory here.
        queue: asyncio.Queue[PromptOutput | Exception | None] = asyncio.Queue(2 * len(self._generations))
        pumps = [
            asyncio.ensure_future(_pump(index, generation, queue)) for index, generation in enumerate(self._generations)
        ]
        try:
            num_running = len(pumps)
            while num_running:
                item = await queue.get()
                if isinstance(item, Exception):
                    raise item
                if item is None:
                    num_running -= 1
                else:
                    yield item
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    def __enter__(self) -> Generations:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _pump(index: int, generation: Generation, queue: asyncio.Queue[PromptOutput | Exception | None]) -> None:
    try:
        async for output in generation:
            await queue.put((index, output))
    except Exception as error:  # noqa: BLE001 - it is the reader's
        await queue.put(error)
    else:
        await queue.put(None)
