"""`ChatVLLMLocal`: LangChain's chat model on an engine of its own, in this process or in a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun, Callbacks
from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import BaseTool
from pydantic import PrivateAttr

from langchain_vllm_local._backends import Backend, EngineBackend, process_registry
from langchain_vllm_local._binding import BindableChatModel
from langchain_vllm_local._errors import translated_errors
from langchain_vllm_local._parameters import CALL_NAMES, check_names
from langchain_vllm_local._profile import DerivedProfile, model_profile, profile_on_disk
from langchain_vllm_local._server_backend import Server, ServerBackend, server_registry
from langchain_vllm_local._server_choice import server_backend
from vllm_local.errors import InvalidConfigError

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import _ChatModelBinding
    from langchain_openai import ChatOpenAI


class ChatVLLMLocal(BindableChatModel):
    """Chat model that runs Llama, Qwen and MPT checkpoints on the CPU, in this process or in a server.

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

    Where it runs:
        In this process, unless `backend="server"` starts `vllm-local serve` for it, `backend="vllm"` the real
        `vllm serve`, or `base_url=` names a server that is there. The same chain gives the same answers on each; see
        `docs/backends.md`.

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

    Tools:
        ```python
        llm.bind_tools([get_weather], tool_choice="any").invoke("What is the weather in Rome?").tool_calls
        ```

        A call that the engine writes always obeys its tool's schema. Agents (`create_agent`) run on the model as it
        is. See `docs/agents.md`.

    Structured output:
        ```python
        llm.with_structured_output(Person).invoke("Ada Lovelace, born in 1815")  # Person(name='Ada Lovelace', …)
        ```

        See `docs/structured-output.md`.

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

    # The model and engine arguments whose loaded engine last confirmed `profile`.
    _profile_of: tuple[str, dict[str, Any]] | None = PrivateAttr(default=None)

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

    def _streaming_disabled(self, **kwargs: Any) -> bool:
        # A stream has one answer. Somebody who only listens to tokens (`astream_events`, LangGraph) must not turn n
        # answers into an error; who asks for a stream gets told.
        several_answers = kwargs.get("n", self.n) not in (None, 1)
        return super()._streaming_disabled(**kwargs) or (several_answers and not kwargs.get("stream"))

    def __call__(
        self,
        messages: LanguageModelInput,
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answers one conversation, as chat models did when notebooks wrote `chat(messages)`; same as `invoke`."""
        return self.invoke(messages, {"callbacks": callbacks}, stop=stop, **kwargs)

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

    # ── The engine, or the server ────────────────────────────────────────────────────────────────────────────────────

    def warm_up(self) -> None:
        """Loads the engine, or starts or asks the server, now rather than on first use; returns when it is ready."""
        with translated_errors():
            self._backend().warm_up()
            self._learn_profile()

    async def awarm_up(self) -> None:
        """The same without blocking the event loop."""
        with translated_errors():
            await self._backend().awarm_up()
            self._learn_profile()

    def shutdown(self) -> None:
        """Frees the engine, or ends the server, of this model and these engine arguments, for all instances.

        Requests that still run end with an error. The next call loads the engine, or starts the server, again. A
        server that `base_url` names is left alone.
        """
        self._backend().shutdown()

    @classmethod
    def shutdown_all(cls) -> None:
        """Frees every engine and ends every server that chat models of this class hold in this process."""
        process_registry().close()
        server_registry().close()

    @property
    def server(self) -> Server:
        """The server that answers: `base_url`, `api_key` and `log_path`; it is started if it does not run.

        Raises:
            InvalidConfigError: The model runs in this process.
        """
        with translated_errors():
            return self._server_backend().server()

    def as_chat_openai(self) -> ChatOpenAI:
        """Returns LangChain's `ChatOpenAI` on the same server, with this model's parameters.

        Raises:
            InvalidConfigError: The model runs in this process.
        """
        with translated_errors():
            backend = self._server_backend()
            backend.warm_up()
            from langchain_vllm_local._chat_openai import chat_openai

            return chat_openai(backend.connection_settings(), self.parameters({}), backend.known_model())

    def _backend(self, model: str | None = None) -> Backend:
        """Returns the place that answers. Backends hold nothing, so that copies and pickles of a model do not."""
        if self.is_over_http:
            return server_backend(self, model)
        return EngineBackend(self.engine_config(model))

    def _server_backend(self) -> ServerBackend:
        if not self.is_over_http:
            message = 'The model runs in this process, which has no server; use backend="server" or base_url=.'
            raise InvalidConfigError(message)
        return server_backend(self)

    def _resolve_model_profile(self) -> ModelProfile | None:
        return profile_on_disk(self.engine_config()) if self.has_engine_config else None

    def _learn_profile(self) -> None:
        """Takes from a loaded engine what config.json could not say: how long a context fits this machine.

        From a server, also the name of its only model, where none was given.
        """
        if not self.model_name:
            self.model_name = server_backend(self).known_model() or ""
        if not (self.profile is None or isinstance(self.profile, DerivedProfile)):
            return
        subject = (self.model_name, self._telling_engine_args())
        if self._profile_of == subject:
            return
        backend = self._backend()
        length = backend.known_max_model_len()
        if length is not None:
            self.profile = model_profile(length, structured_output=backend.keeps_forms_beside_tools())
            self._profile_of = subject
