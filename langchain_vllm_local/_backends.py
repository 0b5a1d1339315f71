"""Where conversations are answered. `EngineBackend` answers them with the engine in this process.

A backend holds settings only; what is expensive lives in a registry of the process. A chat model may therefore be
copied, pickled and forked at any time.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator, Generator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from langchain_vllm_local._batching import result_for_current_batch
from langchain_vllm_local._messages import to_openai_messages
from langchain_vllm_local._parameters import ChatParameters
from langchain_vllm_local._registry import Registry
from langchain_vllm_local._results import chat_chunks, chat_result
from langchain_vllm_local._running import RequestStream, loop_timer, running, thread_timer
from langchain_vllm_local._server_requests import check_one_answer
from vllm_local.config import EngineConfig
from vllm_local.outputs import RequestOutput
from vllm_local.sampling_params import RequestOutputKind

if TYPE_CHECKING:
    from vllm_local.async_llm import AsyncLLM

ChunkGenerator = Generator[ChatGenerationChunk, None, None]
AsyncChunkGenerator = AsyncGenerator[ChatGenerationChunk, None]


class Backend(Protocol):
    """What the chat model needs of a place that answers conversations."""

    def generate(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> ChatResult:
        """Answers one conversation."""

    async def agenerate(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> ChatResult:
        """Answers one conversation without blocking the event loop."""

    def stream(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> ChunkGenerator:
        """Answers one conversation piece by piece; closing the iterator aborts the request."""

    def astream(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> AsyncChunkGenerator:
        """The same without blocking the event loop."""

    def token_ids(self, text: str) -> list[int]:
        """Returns the text's tokens, without special ones around them."""

    def count_tokens(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> int:
        """Returns the length in tokens of the prompt that the conversation becomes."""

    def known_max_model_len(self) -> int | None:
        """Returns the longest prompt and answer together, in tokens, if that is known without waiting."""

    def warm_up(self) -> None:
        """Makes everything ready for the first request."""

    async def awarm_up(self) -> None:
        """The same without blocking the event loop."""

    def shutdown(self) -> None:
        """Frees what the backend holds in this process."""


class EngineRegistry:
    """The engines loaded in one process, by their arguments."""

    def __init__(self) -> None:
        """Makes an empty registry."""
        self._engines: Registry[AsyncLLM] = Registry("vllm-local-load")

    def engine(self, config: EngineConfig) -> Future[AsyncLLM]:
        """Returns the engine for these arguments, which is loaded by the first caller who asks.

        An engine that was shut down or has died, or a load that failed, is replaced by a new one.
        """
        return self._engines.get(registry_key(config), lambda: load_engine(config))

    def loaded_engine(self, config: EngineConfig) -> AsyncLLM | None:
        """Returns the engine for these arguments if it is loaded and well."""
        return self._engines.ready(registry_key(config))

    def close(self, config: EngineConfig | None = None) -> None:
        """Shuts the engine of these arguments down, or all engines; waits for those that are being loaded."""
        self._engines.close(None if config is None else registry_key(config))


def registry_key(config: EngineConfig) -> str:
    """Returns what tells engines apart: their arguments, but not the hub's token.

    The token decides who may download, not what is run; and a key should hold no secret.
    """
    return replace(config, hf_token=None).key()


def load_engine(config: EngineConfig) -> AsyncLLM:
    """Loads a model. Torch is imported here and not before.

    Args:
        config: The engine arguments.

    Raises:
        VLLMLocalError: The model cannot be found, loaded or held.
    """
    from vllm_local.async_llm import AsyncLLM

    return AsyncLLM(config)


# Keyed by process id: a fork starts with an empty registry, and with no lock that some thread of its parent held.
_REGISTRIES: dict[int, EngineRegistry] = {}


def process_registry() -> EngineRegistry:
    """Returns the registry of this process, which all chat models in it share."""
    return _REGISTRIES.setdefault(os.getpid(), EngineRegistry())


class EngineBackend:
    """Answers conversations with the engine in this process."""

    def __init__(self, config: EngineConfig) -> None:
        """Notes the engine arguments; nothing is loaded yet."""
        self.config = config

    def generate(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> ChatResult:
        """Answers one conversation."""
        stream = self._request(messages, parameters, RequestOutputKind.FINAL_ONLY)
        last = None
        with running(stream, parameters.timeout, thread_timer) as request:
            for output in stream:
                last = output
            return _result(request.checked(last), parameters)

    async def agenerate(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> ChatResult:
        """Answers one conversation without blocking the event loop."""
        stream = await self._arequest(messages, parameters, RequestOutputKind.FINAL_ONLY)
        last = None
        with running(stream, parameters.timeout, loop_timer) as request:
            async for output in stream:
                last = output
            return _result(request.checked(last), parameters)

    def stream(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> ChunkGenerator:
        """Answers one conversation piece by piece; closing the iterator aborts the request."""
        stream = self._request(messages, parameters, RequestOutputKind.DELTA)
        output = None
        with running(stream, parameters.timeout, thread_timer) as request:
            for output in stream:
                yield from _chunks(request.checked_so_far(output), parameters)
            request.checked(output)

    async def astream(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> AsyncChunkGenerator:
        """The same without blocking the event loop."""
        stream = await self._arequest(messages, parameters, RequestOutputKind.DELTA)
        output = None
        with running(stream, parameters.timeout, loop_timer) as request:
            async for output in stream:
                for chunk in _chunks(request.checked_so_far(output), parameters):
                    yield chunk
            request.checked(output)

    def token_ids(self, text: str) -> list[int]:
        """Returns the text's tokens, without special ones around them."""
        return self.engine().tokenizer.encode(text, add_special_tokens=False)

    def count_tokens(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> int:
        """Returns the length in tokens of the prompt that the conversation becomes."""
        return len(self.engine().render(to_openai_messages(messages), parameters.tools, **parameters.template))

    def known_max_model_len(self) -> int | None:
        """Returns the longest prompt and answer together, in tokens, or None while the engine is not loaded."""
        engine = process_registry().loaded_engine(self.config)
        return engine.config.max_model_len if engine else None

    def warm_up(self) -> None:
        """Loads the engine."""
        self.engine()

    async def awarm_up(self) -> None:
        """Loads the engine without blocking the event loop."""
        await self.aengine()

    def shutdown(self) -> None:
        """Shuts the engine down, also for other chat models that share it; their next call loads it again."""
        process_registry().close(self.config)

    def engine(self) -> AsyncLLM:
        """Returns the engine, and loads it if nobody has; Ctrl-C ends the wait, also that of a batch's threads."""
        return result_for_current_batch(process_registry().engine(self.config))

    async def aengine(self) -> AsyncLLM:
        """The same without blocking the event loop."""
        return await asyncio.wrap_future(process_registry().engine(self.config))

    def _request(
        self, messages: Sequence[BaseMessage], parameters: ChatParameters, kind: RequestOutputKind
    ) -> RequestStream:
        engine = self.engine()
        prompt = engine.render(to_openai_messages(messages), parameters.tools, **parameters.template)
        return _submit(engine, prompt, parameters, kind)

    async def _arequest(
        self, messages: Sequence[BaseMessage], parameters: ChatParameters, kind: RequestOutputKind
    ) -> RequestStream:
        engine = await self.aengine()
        prompt = await engine.render_async(to_openai_messages(messages), parameters.tools, **parameters.template)
        return _submit(engine, prompt, parameters, kind)


def _submit(engine: AsyncLLM, prompt: list[int], parameters: ChatParameters, kind: RequestOutputKind) -> RequestStream:
    """Hands a rendered prompt to the engine, which checks everything before it returns."""
    sampling = engine.default_sampling_params(**parameters.sampling, output_kind=kind)
    if kind is RequestOutputKind.DELTA:
        check_one_answer(sampling.n)
    return engine.submit(
        {"prompt_token_ids": prompt},
        sampling,
        request_id=f"chatcmpl-{uuid.uuid4().hex}",
        priority=parameters.priority,
        cache_salt=parameters.cache_salt,
    )


def _result(output: RequestOutput, parameters: ChatParameters) -> ChatResult:
    return chat_result(output, parameters.model, top_logprobs=parameters.sampling.get("logprobs", 0))


def _chunks(output: RequestOutput, parameters: ChatParameters) -> list[ChatGenerationChunk]:
    top_logprobs = parameters.sampling.get("logprobs", 0)
    return chat_chunks(output, parameters.model, top_logprobs=top_logprobs, with_usage=parameters.stream_usage)
