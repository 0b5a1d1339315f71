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
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from langchain_vllm_local._batching import result_for_current_batch
from langchain_vllm_local._messages import to_openai_messages
from langchain_vllm_local._parameters import ChatParameters
from langchain_vllm_local._registry import Registry
from langchain_vllm_local._results import AnswerReader, ChunkStream, chat_result
from langchain_vllm_local._running import RequestStream, loop_timer, running, thread_timer
from langchain_vllm_local._server_requests import check_one_answer
from vllm_local.chat.tools import ToolRequest
from vllm_local.config import EngineConfig
from vllm_local.grammar_spec import Constraint
from vllm_local.outputs import RequestOutput
from vllm_local.sampling_params import RequestOutputKind, StructuredOutputsParams

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

    def keeps_forms_beside_tools(self) -> bool:
        """Whether an answer may be asked for as a tool call or else in a form, as far as that is known."""

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
        asked = self._ask(messages, parameters, RequestOutputKind.FINAL_ONLY)
        last = None
        with running(asked.stream, parameters.timeout, thread_timer) as request:
            for output in asked.stream:
                last = output
            return asked.result(request.checked(last))

    async def agenerate(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> ChatResult:
        """Answers one conversation without blocking the event loop."""
        asked = await self._aask(messages, parameters, RequestOutputKind.FINAL_ONLY)
        last = None
        with running(asked.stream, parameters.timeout, loop_timer) as request:
            async for output in asked.stream:
                last = output
            return asked.result(request.checked(last))

    def stream(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> ChunkGenerator:
        """Answers one conversation piece by piece; closing the iterator aborts the request."""
        asked = self._ask(messages, parameters, RequestOutputKind.DELTA)
        chunks = asked.chunk_stream()
        output = None
        with running(asked.stream, parameters.timeout, thread_timer) as request:
            for output in asked.stream:
                yield from chunks.chunks(request.checked_so_far(output))
            request.checked(output)

    async def astream(self, messages: Sequence[BaseMessage], parameters: ChatParameters) -> AsyncChunkGenerator:
        """The same without blocking the event loop."""
        asked = await self._aask(messages, parameters, RequestOutputKind.DELTA)
        chunks = asked.chunk_stream()
        output = None
        with running(asked.stream, parameters.timeout, loop_timer) as request:
            async for output in asked.stream:
                for chunk in chunks.chunks(request.checked_so_far(output)):
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

    def keeps_forms_beside_tools(self) -> bool:
        """Returns True: the grammar is that of either."""
        return True

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

    def _ask(
        self, messages: Sequence[BaseMessage], parameters: ChatParameters, kind: RequestOutputKind
    ) -> _AskedEngine:
        return _ask(self.engine(), messages, parameters, kind)

    async def _aask(
        self, messages: Sequence[BaseMessage], parameters: ChatParameters, kind: RequestOutputKind
    ) -> _AskedEngine:
        engine = await self.aengine()
        # Rendering takes time, and compiling a grammar more.
        return await engine.off_loop(_ask, engine, messages, parameters, kind)


@dataclass(frozen=True)
class _AskedEngine:
    """A request that the engine answers.

    Attributes:
        stream: Its outputs.
        reader: Reads them.
        parameters: The call's.
    """

    stream: RequestStream
    reader: AnswerReader
    parameters: ChatParameters

    def result(self, output: RequestOutput) -> ChatResult:
        """Returns what the finished request says."""
        return chat_result(output, self.parameters.model, self.reader, top_logprobs=self._top_logprobs)

    def chunk_stream(self) -> ChunkStream:
        """Returns what makes chunks of the outputs."""
        return ChunkStream(
            self.parameters.model,
            self.reader,
            top_logprobs=self._top_logprobs,
            with_usage=self.parameters.stream_usage,
        )

    @property
    def _top_logprobs(self) -> int:
        return self.parameters.sampling.get("logprobs") or 0


def _ask(
    engine: AsyncLLM, messages: Sequence[BaseMessage], parameters: ChatParameters, kind: RequestOutputKind
) -> _AskedEngine:
    """Renders a conversation and hands it to the engine, which checks everything before it returns."""
    tools, form = parameters.tool_request(), parameters.answer_form()
    sampling = engine.default_sampling_params(**parameters.sampling, output_kind=kind)
    if kind is RequestOutputKind.DELTA:
        check_one_answer(sampling.n)
    with _blaming(parameters, tools):
        response = None if form is None else _constraint(form)
        chat = engine.chat_format.prepare(to_openai_messages(messages), tools, response, **parameters.template)
        sampling = replace(
            sampling,
            structured_outputs=chat.structured_outputs,
            thinking_budget=chat.thinking_budget(parameters.thinking_token_budget),
            skip_special_tokens=sampling.skip_special_tokens and not chat.shows_special_tokens,
        )
        tokenizer = engine.tokenizer
        stream = engine.submit(
            # The template has written out every special token already.
            {"prompt_token_ids": tokenizer.encode(chat.text, add_special_tokens=False)},
            sampling,
            request_id=f"chatcmpl-{uuid.uuid4().hex}",
            priority=parameters.priority,
            cache_salt=parameters.cache_salt,
        )
    reader = AnswerReader(
        make_router=chat.make_router,
        thinks=chat.reasoning_format is not None,
        count_tokens=lambda text: len(tokenizer.encode(text, add_special_tokens=False)),
        tool_is_named=tools.choice.is_named,
        include_reasoning=parameters.include_reasoning,
    )
    return _AskedEngine(stream, reader, parameters)


def _blaming(parameters: ChatParameters, tools: ToolRequest) -> AbstractContextManager[None]:
    """Lets errors about a form blame what the caller wrote."""
    from vllm_local.structured_output.blame import blaming

    fields = {"structured_outputs": parameters.structured_outputs, "response_format": parameters.response_format}
    field = next((name for name, value in fields.items() if value is not None), "tools")
    return blaming(field, [(tool.name, tool.parameters) for tool in tools.callable_tools])


def _constraint(form: StructuredOutputsParams) -> Constraint:
    from vllm_local.structured_output.compiler import as_constraint

    return as_constraint(form)
