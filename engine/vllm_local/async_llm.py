"""`AsyncLLM`: one loaded model that any number of threads and event loops ask at once."""

from __future__ import annotations

import asyncio
import functools
import os
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from vllm_local.chat.chat_format import ChatFormat
from vllm_local.chat.renderer import ChatRenderer
from vllm_local.chat.tools import read_tool_request
from vllm_local.config import EngineConfig, ResolvedConfig
from vllm_local.engine_loading import LoadedModel, load, read_model_files
from vllm_local.engine_registry import REGISTRY
from vllm_local.engine_stats import EngineStats
from vllm_local.engine_thread import EngineThread
from vllm_local.errors import EngineClosedError
from vllm_local.input_processor import InputProcessor, Prompt
from vllm_local.output_collector import OutputCollector
from vllm_local.outputs import RequestOutput
from vllm_local.request_stream import RequestStream
from vllm_local.sampling_params import SamplingParams
from vllm_local.tokenizer.tokenizer import Tokenizer

P = ParamSpec("P")
T = TypeVar("T")

_NUM_INPUT_THREADS = 2
"""Tokenising and template rendering; more would take cores from the model."""


class AsyncLLM:
    """A model, loaded once, and the thread that computes for everybody who asks.

    Example:
        >>> engine = AsyncLLM(EngineConfig())
        >>> for output in engine.submit("Hello", engine.default_sampling_params(max_tokens=8)):
        ...     text = output.outputs[0].text
        >>> engine.close()

    It is freed by `close`, at the end of a `with`, or when nobody refers to it or to one of its streams any more. After
    a fork, the child gets EngineClosedError: threads do not survive a fork.

    Attributes:
        config: The engine arguments, made concrete.
        tokenizer: The model's tokenizer.
        renderer: The model's chat template.
        chat_format: The template, the way the model calls tools, and the way it thinks.
        model_path: The model's folder.
    """

    def __init__(self, config: EngineConfig) -> None:
        """Loads the model in the calling thread, which may take a while, and starts the engine.

        Loads in other threads take turns with this one, except while files are fetched.

        Raises:
            VLLMLocalError: The model cannot be loaded.
        """
        files = read_model_files(config)
        with REGISTRY.loading:
            loaded = load(
                files,
                loaded_engines=REGISTRY.descriptions(),
                reserved_memory=REGISTRY.reserved_memory,
                after_fork=REGISTRY.is_after_fork,
            )
            self._start(loaded)

    @classmethod
    def from_loaded(cls, loaded: LoadedModel) -> AsyncLLM:
        """Starts an engine on parts that were loaded, or made, elsewhere."""
        engine = cls.__new__(cls)
        engine._start(loaded)  # noqa: SLF001 - an instance of this class
        return engine

    def _start(self, loaded: LoadedModel) -> None:
        self._process_id = os.getpid()
        self.config: ResolvedConfig = loaded.config
        self.tokenizer: Tokenizer = loaded.tokenizer
        self.renderer: ChatRenderer = loaded.renderer
        self.chat_format = ChatFormat(loaded.renderer, loaded.tokenizer)
        self.model_path: Path = loaded.path
        self._sampling_defaults = loaded.sampling_defaults
        self._input_processor = InputProcessor(loaded.config, loaded.tokenizer)
        self._executor = ThreadPoolExecutor(_NUM_INPUT_THREADS, thread_name_prefix="vllm-local input")
        self._thread = EngineThread(loaded.make_engine, f"vllm-local {loaded.config.engine.model}")
        self._finalizer = weakref.finalize(self, _stop, self._thread, self._process_id)
        self._finalizer.atexit = False  # the registry closes at exit, and waits
        REGISTRY.add(self, self._thread)

    @property
    def is_closed(self) -> bool:
        """Whether it can no longer be used: closed, failed, or belonging to a parent process."""
        return self._process_id != os.getpid() or self._thread.is_ended

    def default_sampling_params(self, **overrides: Any) -> SamplingParams:
        """Returns the model's own sampling defaults, with changes.

        Args:
            **overrides: Fields of SamplingParams; those that are None are left out. Without `max_tokens` an answer may
                take all the room that the context leaves.

        Raises:
            InvalidRequestError: A name or a value is wrong.
        """
        return self._sampling_defaults.make(**overrides)

    def submit(
        self,
        prompt: Prompt,
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
        cache_salt: str | None = None,
    ) -> RequestStream:
        """Starts a request; validates and tokenises it in the calling thread.

        Args:
            prompt: A text, token ids, or {"prompt": …} or {"prompt_token_ids": …}.
            params: How to sample; all n answers arrive in the one stream.
            request_id: A name for the request; one is made up by default.
            priority: Lower runs first, where the scheduling policy is "priority".
            cache_salt: Prefixes are shared only with requests of the same salt.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was started.
            ContextLengthError: The prompt leaves no room for an answer.
            EngineError: The engine has ended.
        """
        self.check_health()
        prepared = self._input_processor.prepare(
            prompt, params, request_id=request_id, priority=priority, cache_salt=cache_salt
        )
        self._thread.start_requests([prepared])
        return RequestStream(self, prepared.collector)

    async def submit_async(self, prompt: Prompt, params: SamplingParams, **options: Any) -> RequestStream:
        """Does what `submit` does in another thread; what is slow to compile holds none that other requests need.

        Args:
            prompt: As for `submit`.
            params: As for `submit`.
            **options: As for `submit`.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was started.
            ContextLengthError: The prompt leaves no room for an answer.
            EngineError: The engine has ended.
        """
        compiling = await self.off_loop(self._input_processor.begin_grammar, params)
        if compiling is not None:
            waiting = asyncio.wrap_future(compiling)
            waiting.add_done_callback(_take_note)
            # Others may wait for the same, so that a cancelled task must not cancel it.
            await asyncio.wait([waiting])
            waiting.result()
        return await self.off_loop(functools.partial(self.submit, **options), prompt, params)

    def submit_batch(
        self, prompts: Sequence[Prompt], params: Sequence[SamplingParams], priorities: Sequence[int]
    ) -> list[RequestStream]:
        """Starts many requests, all or none; the arguments have one item a request.

        Raises:
            InvalidRequestError: An argument is wrong; nothing was started.
            EngineError: The engine has ended.
        """
        self.check_health()
        prepare = self._input_processor.prepare
        prepared = [
            prepare(prompt, sampling, priority=priority)
            for prompt, sampling, priority in zip(prompts, params, priorities, strict=True)
        ]
        self._thread.start_requests(prepared)
        return [RequestStream(self, item.collector) for item in prepared]

    async def generate(
        self,
        prompt: Prompt,
        sampling_params: SamplingParams,
        request_id: str | None = None,
        *,
        priority: int = 0,
        cache_salt: str | None = None,
    ) -> AsyncIterator[RequestOutput]:
        """Yields a request's outputs; leaving the loop or cancelling the task aborts it. Arguments as for `submit`."""
        options = {"request_id": request_id, "priority": priority, "cache_salt": cache_salt}
        async with await self.submit_async(prompt, sampling_params, **options) as stream:
            async for output in stream:
                yield output

    def abort(self, request_id: str) -> None:
        """Ends an unfinished request with finish reason "abort"; from any thread, never waits."""
        if not self.is_closed:
            self._thread.abort_by_id(request_id)

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> list[int]:
        """Returns the prompt tokens of a conversation; see `ChatFormat.prepare`, which also says how to answer it."""
        text = self.chat_format.render(messages, read_tool_request(tools or None), **kwargs)
        # The template has written out every special token already.
        return self.tokenizer.encode(text, add_special_tokens=False)

    async def render_async(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> list[int]:
        """Does the same in another thread, so that the event loop goes on."""
        return await self.off_loop(self.render, messages, tools, **kwargs)

    async def off_loop(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a function in one of the input threads, so that the event loop goes on; for `submit` and the like.

        Raises:
            EngineError: The engine has ended.
        """
        self.check_process()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, functools.partial(function, *args, **kwargs))
        except RuntimeError:
            self.check_health()  # the executor refuses work once the engine was closed
            raise

    def stats(self) -> EngineStats:
        """Returns what the engine has done and is doing."""
        self.check_process()
        return self._thread.stats()

    def reset_prefix_cache(self) -> bool:
        """Forgets all cached prefixes; False, and nothing changes, while requests hold blocks.

        Raises:
            EngineError: The engine has ended.
        """
        self.check_health()
        return self._thread.call(lambda engine: engine.scheduler.reset_prefix_cache())

    def check_health(self) -> None:
        """Makes sure that requests are served.

        Raises:
            EngineDeadError: The engine thread ended with an error, which is the `__cause__`.
            EngineClosedError: The engine was closed, or belongs to a parent process.
        """
        self.check_process()
        self._thread.check()

    def check_integrity(self) -> None:
        """Checks the scheduler's books, between two steps.

        Raises:
            AssertionError: They do not agree.
            EngineError: The engine has ended.
        """
        self.check_health()
        self._thread.call(lambda engine: engine.check_integrity())

    def describe(self) -> str:
        """Returns one line for a person: which model, and how much its KV cache takes."""
        mebibytes = self.config.kv_cache.memory_bytes / 2**20
        return f"{self.config.engine.model} (KV cache {mebibytes:.0f} MiB, {self._thread.num_unfinished} requests)"

    def reserved_memory(self) -> int:
        """Returns the bytes of main memory that its KV cache may still take beyond what it has taken."""
        if self.is_closed or self.config.device != "cpu":  # elsewhere the whole cache is taken at once
            return 0
        cache = self.config.kv_cache
        return self._thread.stats().num_untouched_blocks * (cache.memory_bytes // cache.num_blocks)

    def close(self) -> None:
        """Ends the engine after the current step and frees its memory; may be called twice, and from any thread.

        Whoever waits for an answer gets EngineClosedError.
        """
        self._close(silently=False)

    def close_at_exit(self) -> None:
        """Does the same while the interpreter exits, when nobody is left who could be told."""
        self._close(silently=True)

    def check_process(self) -> None:
        """Makes sure that this is the process that loaded the engine.

        Raises:
            EngineClosedError: It is a fork of it.
        """
        if self._process_id != os.getpid():
            message = (
                f"This engine was loaded in process {self._process_id} and does not exist in its fork {os.getpid()}; "
                "load one here, or start the process with 'spawn'."
            )
            raise EngineClosedError(message)

    def watch(self) -> None:
        """Notices an engine thread that has vanished, so that its requests fail."""
        self._thread.watch()

    def abort_collector(self, collector: OutputCollector) -> None:
        """Ends a request; for its stream, also while that is being collected. Never raises, never waits."""
        if self._process_id == os.getpid():
            self._thread.abort(collector)

    def __enter__(self) -> AsyncLLM:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _close(self, *, silently: bool) -> None:
        if self._process_id != os.getpid():
            return
        REGISTRY.discard(self)
        self._thread.stop(silently=silently)
        self._thread.join()
        self._executor.shutdown(wait=False)


def _stop(thread: EngineThread, process_id: int) -> None:
    if process_id == os.getpid():
        thread.stop()


def _take_note(future: asyncio.Future[Any]) -> None:
    """Looks at an error that nobody may be left to look at."""
    if not future.cancelled():
        future.exception()
