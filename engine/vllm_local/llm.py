"""`LLM`: vLLM's offline API, for scripts that hand over whole batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from vllm_local.async_llm import AsyncLLM
from vllm_local.batch_progress import BatchProgress
from vllm_local.chat.tools import read_tool_request
from vllm_local.config import ENGINE_ARGUMENT_NAMES, STARTER_MODEL_NAME, EngineConfig
from vllm_local.engine_loading import LoadedModel
from vllm_local.errors import InvalidConfigError, InvalidRequestError
from vllm_local.input_processor import Prompt
from vllm_local.outputs import RequestOutput
from vllm_local.request_stream import RequestStream
from vllm_local.sampling_params import RequestOutputKind, SamplingParams
from vllm_local.structured_output.compiler import as_constraint
from vllm_local.tokenizer.tokenizer import Tokenizer

_MAX_TOKENS = 16
"""Of an answer where neither the caller nor the model says; vLLM's default."""
_POLL_SECONDS = 0.1


class LLM:
    """A model for offline batches: everything given to one call is computed as one continuous batch.

    Example:
        >>> llm = LLM(model="Qwen/Qwen3-0.6B")
        >>> outputs = llm.generate(["Hello, my name is"], SamplingParams(temperature=0.8, max_tokens=32))
        >>> outputs[0].outputs[0].text

    It is freed by `close`, at the end of a `with`, or when nobody refers to it any more. Threads may share it.
    """

    def __init__(self, model: str | EngineConfig = STARTER_MODEL_NAME, **engine_args: Any) -> None:
        """Loads a model.

        Args:
            model: Hugging Face id or local folder (the starter model by default), or all arguments as an EngineConfig.
            **engine_args: Further fields of EngineConfig.

        Raises:
            InvalidConfigError: An argument is wrong or unknown.
            VLLMLocalError: The model cannot be loaded.
        """
        self._engine = AsyncLLM(_as_config(model, engine_args))

    @classmethod
    def from_loaded(cls, loaded: LoadedModel) -> LLM:
        """Starts on parts that were loaded, or made, elsewhere."""
        llm = cls.__new__(cls)
        llm._engine = AsyncLLM.from_loaded(loaded)  # noqa: SLF001 - an instance of this class
        return llm

    @property
    def engine(self) -> AsyncLLM:
        """The engine that computes, for statistics and single requests."""
        return self._engine

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: bool = True,
        priority: Sequence[int] | None = None,
    ) -> list[RequestOutput]:
        """Continues prompts; the outputs come in the prompts' order.

        Args:
            prompts: One prompt or a list of them: texts, {"prompt": …} or {"prompt_token_ids": …}.
            sampling_params: For all prompts, or one for each; the model's defaults if left out.
            use_tqdm: Show a progress bar.
            priority: One for each prompt, lower first, where the scheduling policy is "priority".

        Raises:
            InvalidRequestError: A prompt or a parameter is wrong; nothing was computed then.
            EngineError: The engine ended.
        """
        batch = _as_batch(prompts)
        params = self._params_for(sampling_params, len(batch))
        priorities = [0] * len(batch) if priority is None else priority
        _check_length("priority", priorities, len(batch))
        return self._run(batch, params, priorities, use_tqdm=use_tqdm)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]] | Sequence[Sequence[Mapping[str, Any]]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        """Answers conversations; the outputs come in their order.

        Args:
            messages: One conversation in OpenAI's shape, or a list of them.
            sampling_params: For all conversations, or one for each; the model's defaults if left out.
            tools: Tools in OpenAI's shape that the model may call; a call, once begun, obeys its tool's schema.
            chat_template: A Jinja template, its path, or the name of one that the model has.
            add_generation_prompt: Begin an assistant's message.
            continue_final_message: Go on with the last message instead.
            chat_template_kwargs: Whatever else the template knows (`enable_thinking`, …).
            use_tqdm: Show a progress bar.

        Raises:
            InvalidRequestError: A conversation or a parameter is wrong; nothing was computed then.
            EngineError: The engine ended.
        """
        conversations = _as_conversations(messages)
        params = self._params_for(sampling_params, len(conversations))
        request = read_tool_request(tools or None)
        chat_format = self._engine.chat_format.with_template(chat_template)
        kwargs = {
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": continue_final_message,
            **(chat_template_kwargs or {}),
        }
        prompts: list[Prompt] = []
        for index, conversation in enumerate(conversations):
            form = params[index].structured_outputs
            response = None if form is None else as_constraint(form)
            prepared = chat_format.prepare(conversation, request, response, **kwargs)
            token_ids = self.get_tokenizer().encode(prepared.text, add_special_tokens=False)
            prompts.append({"prompt": prepared.text, "prompt_token_ids": token_ids})
            params[index] = dataclasses.replace(params[index], structured_outputs=prepared.structured_outputs)
        return self._run(prompts, params, [0] * len(prompts), use_tqdm=use_tqdm)

    def get_tokenizer(self) -> Tokenizer:
        """Returns the model's tokenizer."""
        return self._engine.tokenizer

    def get_default_sampling_params(self) -> SamplingParams:
        """Returns the model's own sampling defaults; answers have 16 tokens unless the model says otherwise."""
        params = self._engine.default_sampling_params()
        return params if params.max_tokens is not None else dataclasses.replace(params, max_tokens=_MAX_TOKENS)

    def close(self) -> None:
        """Frees the model; may be called twice, and from any thread."""
        self._engine.close()

    def __enter__(self) -> LLM:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _params_for(
        self, sampling_params: SamplingParams | Sequence[SamplingParams] | None, count: int
    ) -> list[SamplingParams]:
        if sampling_params is None:
            sampling_params = self.get_default_sampling_params()
        if isinstance(sampling_params, SamplingParams):
            sampling_params = [sampling_params] * count
        _check_length("sampling_params", sampling_params, count)
        return [_final_only(params) for params in sampling_params]

    def _run(
        self, prompts: Sequence[Prompt], params: list[SamplingParams], priorities: Sequence[int], *, use_tqdm: bool
    ) -> list[RequestOutput]:
        streams = self._engine.submit_batch(prompts, params, priorities)
        with _aborting(streams), BatchProgress(streams, is_shown=use_tqdm) as progress:
            return [_wait(stream, progress) for stream in streams]


def _wait(stream: RequestStream, progress: BatchProgress) -> RequestOutput:
    while True:
        output = stream.poll(_POLL_SECONDS)
        progress.refresh()
        if output is not None:
            return output


@contextmanager
def _aborting(streams: list[RequestStream]) -> Iterator[None]:
    """Aborts what still runs if the batch is left early, by Ctrl-C say."""
    try:
        yield
    finally:
        for stream in streams:
            stream.close()


def _as_config(model: str | EngineConfig, engine_args: dict[str, Any]) -> EngineConfig:
    if isinstance(model, EngineConfig):
        if engine_args:
            raise InvalidConfigError("Give an EngineConfig or single engine arguments, not both.")
        return model
    unknown = [name for name in engine_args if name not in ENGINE_ARGUMENT_NAMES]
    if unknown:
        message = f"There is no engine argument {unknown[0]!r}; there are {', '.join(ENGINE_ARGUMENT_NAMES)}."
        raise InvalidConfigError(message)
    return EngineConfig(model=model, **engine_args)


def _as_batch(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    if isinstance(prompts, (str, Mapping)):
        return [prompts]
    if not isinstance(prompts, Sequence):
        raise InvalidRequestError(f"prompts must be a prompt or a list, got {type(prompts).__name__}.")
    if prompts and isinstance(prompts[0], int):
        return [prompts]  # type: ignore[list-item] # one prompt's token ids
    return list(prompts)  # type: ignore[arg-type]


def _as_conversations(
    messages: Sequence[Mapping[str, Any]] | Sequence[Sequence[Mapping[str, Any]]],
) -> list[Sequence[Mapping[str, Any]]]:
    if isinstance(messages, Sequence) and messages and not isinstance(messages[0], Mapping):
        return list(messages)  # type: ignore[arg-type]
    return [messages]  # type: ignore[list-item]


def _final_only(params: object) -> SamplingParams:
    if not isinstance(params, SamplingParams):
        message = f"sampling_params must be SamplingParams or a list of them, got {type(params).__name__}."
        raise InvalidRequestError(message, parameter="sampling_params")
    return dataclasses.replace(params, output_kind=RequestOutputKind.FINAL_ONLY)


def _check_length(name: str, values: object, count: int) -> None:
    if not isinstance(values, Sequence):
        message = f"{name} must have one item for each prompt, got {type(values).__name__}."
        raise InvalidRequestError(message, parameter=name)
    if len(values) != count:
        raise InvalidRequestError(f"{name} has {len(values)} items for {count} prompts.", parameter=name)
