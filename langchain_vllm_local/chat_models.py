"""`ChatVLLMLocal`: LangChain's chat model on the engine in this process."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun, Callbacks
from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list
from langchain_core.tools import BaseTool
from pydantic import PrivateAttr

from langchain_vllm_local._backends import Backend, EngineBackend, process_registry
from langchain_vllm_local._batching import run_concurrently
from langchain_vllm_local._errors import translated_errors
from langchain_vllm_local._identity import IdentifiableChatModel
from langchain_vllm_local._parameters import CALL_NAMES, check_names
from langchain_vllm_local._profile import DerivedProfile, model_profile, profile_on_disk
from langchain_vllm_local._results import combine_llm_outputs

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import _ChatModelBinding


class ChatVLLMLocal(IdentifiableChatModel):
    """Chat model that runs Llama, Qwen and MPT checkpoints in this process, on the CPU.

    Setup:
        `pip install langchain-vllm-local`. Nothing else: no server, no key, and a starter model is part of the
        package.

    Instantiate:
        ```python
        from langchain_vllm_local import ChatVLLMLocal

        llm = ChatVLLMLocal(max_tokens=16, temperature=0)  # the starter model
        ```

        `ChatVLLMLocal(model="Qwen/Qwen3-0.6B")` runs a model from the Hugging Face hub or a local folder. The
        constructor loads nothing. The model is loaded on first use, or by `warm_up()`, and stays, shared by every
        instance with the same `model` and `engine_args`, until `shutdown()` or the end of the process.

    Invoke:
        ```python
        llm.invoke([("system", "You translate English to Italian."), ("human", "I love programming.")])
        ```

    Stream:
        ```python
        for chunk in llm.stream("Hello!"):
            print(chunk.text, end="")
        ```

    Many at once:
        `batch`, `batch_as_completed` and `generate` hand all their inputs to the engine, which computes up to
        `max_num_seqs` of them in every step; `abatch`, and whatever else is async, needs no threads. See
        `docs/batching-and-async.md`.

    Parameters:
        Those of `ChatOpenAI` under its names and aliases, vLLM's further sampling parameters (`top_k`, `min_p`, ...),
        and `engine_args`. An unknown name is an error, here and per call. See `docs/parameters.md`.

    Token usage:
        `AIMessage.usage_metadata`, with the tokens that came from the prefix cache;
        `get_num_tokens_from_messages` counts exactly what `input_tokens` will say.

    Errors:
        LangChain's (`ContextOverflowError`, `ModelTimeoutError`, ...), which are at the same time the engine's own
        (`vllm_local.errors`).
    """

    # The model that `profile` was last confirmed for by its loaded engine.
    _profile_of: str | None = PrivateAttr(default=None)

    @property
    def model(self) -> str:
        """Same as `model_name`."""
        return self.model_name

    # ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's signature
        **kwargs: Any,
    ) -> ChatResult:
        with translated_errors():
            parameters = self.parameters(kwargs, stop)
            result = self._backend(parameters.model).generate(messages, parameters)
            self._learn_profile()
        return result

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's signature
        **kwargs: Any,
    ) -> ChatResult:
        with translated_errors():
            parameters = self.parameters(kwargs, stop)
            result = await self._backend(parameters.model).agenerate(messages, parameters)
            self._learn_profile()
        return result

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with translated_errors():
            parameters = self.parameters(kwargs, stop)
            with closing(self._backend(parameters.model).stream(messages, parameters)) as chunks:
                for chunk in chunks:
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
            self._learn_profile()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        with translated_errors():
            parameters = self.parameters(kwargs, stop)
            async with aclosing(self._backend(parameters.model).astream(messages, parameters)) as chunks:
                async for chunk in chunks:
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
            self._learn_profile()

    def __call__(
        self,
        messages: LanguageModelInput,
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answers one conversation, as chat models did when notebooks wrote `chat(messages)`; same as `invoke`."""
        return self.invoke(messages, {"callbacks": callbacks}, stop=stop, **kwargs)

    # ── Many at once ─────────────────────────────────────────────────────────────────────────────────────────────────

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        run_id: uuid.UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answers several conversations, all in one continuous batch; each is a run of its own for callbacks.

        Args:
            messages: The conversations.
            stop: Strings that end an answer.
            callbacks: LangChain's callbacks.
            run_id: Id of the first conversation's run.
            **kwargs: `tags`, `metadata`, `run_name`, and parameters of the call.

        Returns:
            The n answers to each conversation, in order.
        """
        answer = super().generate
        if len(messages) < 2:
            return answer(messages, stop, callbacks, run_id=run_id, **kwargs)
        run_ids = [run_id, *[None] * (len(messages) - 1)]
        calls = [
            partial(answer, [one], stop, callbacks, run_id=its_id, **kwargs)
            for one, its_id in zip(messages, run_ids, strict=True)
        ]
        by_index = dict(run_concurrently(calls, self.engine_config().max_num_seqs))
        results = [by_index[index] for index in range(len(calls))]
        return LLMResult(
            generations=[generations for result in results for generations in result.generations],
            llm_output=self._combine_llm_outputs([result.llm_output for result in results]),
            run=[info for result in results for info in result.run or []] or None,
        )

    def batch(
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answers many inputs, all in one continuous batch.

        Args:
            inputs: The inputs.
            config: One for all, or one each. `max_concurrency` limits how many run at a time; the engine's
                `max_num_seqs` unless set.
            return_exceptions: Return errors in place of answers, rather than raise the first.
            **kwargs: Parameters of the call.

        Returns:
            The answers, in the order of the inputs.
        """
        completed = self.batch_as_completed(inputs, config, return_exceptions=return_exceptions, **kwargs)
        by_index = dict(completed)
        return [by_index[index] for index in range(len(inputs))]

    def batch_as_completed(
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> Iterator[tuple[int, Any]]:
        """Answers many inputs, all in one continuous batch, and yields each answer when it is there.

        Args:
            inputs: The inputs.
            config: As for `batch`.
            return_exceptions: Yield errors in place of answers, rather than raise the first.
            **kwargs: Parameters of the call.

        Yields:
            The input's index and its answer. If the caller stops here, what still runs is aborted.
        """
        if not inputs:
            return

        def answer(one: LanguageModelInput, its_config: RunnableConfig) -> AIMessage | Exception:
            try:
                return self.invoke(one, its_config, **kwargs)
            except Exception as error:
                if return_exceptions:
                    return error
                raise

        configs = get_config_list(config, len(inputs))
        limit = configs[0].get("max_concurrency") or self.engine_config().max_num_seqs
        calls = [partial(answer, one, its_config) for one, its_config in zip(inputs, configs, strict=True)]
        if len(calls) == 1:
            yield 0, calls[0]()
        else:
            yield from run_concurrently(calls, limit)

    def bind(self, **kwargs: Any) -> _ChatModelBinding:
        """Returns this model with parameters for its calls.

        Args:
            **kwargs: Parameters of the calls.

        Raises:
            InvalidRequestError: A name that no call knows.
        """
        with translated_errors():
            check_names(kwargs, CALL_NAMES, "A call")
        return super().bind(**kwargs)

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        return combine_llm_outputs(llm_outputs, self.model_name)

    # ── Tokens ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def get_token_ids(self, text: str) -> list[int]:
        """Returns the text's tokens by the model's own tokenizer, which loads the engine."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        with translated_errors():
            return self._backend().token_ids(text)

    def get_num_tokens_from_messages(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
        **kwargs: Any,
    ) -> int:
        """Counts the tokens of the prompt that a conversation becomes, template and tool definitions included.

        Args:
            messages: The conversation.
            tools: Tools of the call.
            **kwargs: Further parameters of the call, such as `chat_template_kwargs`.

        Returns:
            What `usage_metadata["input_tokens"]` of the call will be; 0 for no messages at all.
        """
        if not messages:
            return 0
        with translated_errors():
            parameters = self.parameters({**kwargs, "tools": tools})
            return self._backend(parameters.model).count_tokens(messages, parameters)

    # ── The engine ───────────────────────────────────────────────────────────────────────────────────────────────────

    def warm_up(self) -> None:
        """Loads the engine now rather than on first use; returns when it is ready."""
        with translated_errors():
            self._backend().warm_up()
            self._learn_profile()

    async def awarm_up(self) -> None:
        """The same without blocking the event loop."""
        with translated_errors():
            await self._backend().awarm_up()
            self._learn_profile()

    def shutdown(self) -> None:
        """Frees the engine of this model and these engine arguments, also for other instances that share it.

        Requests that still run end with an error. The next call loads the engine again.
        """
        self._backend().shutdown()

    @classmethod
    def shutdown_all(cls) -> None:
        """Frees every engine that chat models of this class hold in this process."""
        process_registry().close()

    def _backend(self, model: str | None = None) -> Backend:
        """Returns the place that answers. Backends hold nothing, so that copies and pickles of a model do not."""
        return EngineBackend(self.engine_config(model))

    def _resolve_model_profile(self) -> ModelProfile | None:
        return profile_on_disk(self.engine_config())

    def _learn_profile(self) -> None:
        """Takes from a loaded engine what config.json could not say: how long a context fits this machine."""
        if self._profile_of == self.model_name or not (
            self.profile is None or isinstance(self.profile, DerivedProfile)
        ):
            return
        length = self._backend().known_max_model_len()
        if length is not None:
            self.profile = model_profile(length)
            self._profile_of = self.model_name
