"""From a request's fields to SamplingParams."""

from __future__ import annotations

from typing import Any

from vllm_local.async_llm import AsyncLLM
from vllm_local.errors import InvalidRequestError
from vllm_local.sampling_params import RequestOutputKind, SamplingParams
from vllm_local.server.protocol.base import SamplingFields
from vllm_local.server.protocol.chat import ChatCompletionRequest
from vllm_local.server.protocol.completions import CompletionRequest
from vllm_local.server.settings import ServerSettings

_NAMES = tuple(name for name in SamplingFields.model_fields if name != "spaces_between_special_tokens")


def chat_sampling_params(request: ChatCompletionRequest, engine: AsyncLLM, settings: ServerSettings) -> SamplingParams:
    """Returns how to sample the answer to a conversation.

    Raises:
        InvalidRequestError: A value is wrong, or the request asks for two things that exclude each other.
    """
    given = request.max_completion_tokens
    max_tokens = request.max_tokens if given is None else given
    logprobs = _chat_logprobs(request, settings)
    prompt_logprobs = _prompt_logprobs(request, settings)
    return _make(engine, request, max_tokens=max_tokens, logprobs=logprobs, prompt_logprobs=prompt_logprobs)


def completion_sampling_params(
    request: CompletionRequest, engine: AsyncLLM, settings: ServerSettings
) -> SamplingParams:
    """Returns how to sample the continuation of a prompt; errors as above."""
    logprobs = request.logprobs
    if logprobs is not None:
        _check_logprobs("logprobs", logprobs, settings)
    elif request.logprob_token_ids:
        message = "when using `logprob_token_ids`, `logprobs` must be set."
        raise InvalidRequestError(message, parameter="logprob_token_ids")
    prompt_logprobs = _prompt_logprobs(request, settings)
    if prompt_logprobs is None and request.echo:
        prompt_logprobs = logprobs
    max_tokens = request.max_tokens
    return _make(engine, request, max_tokens=max_tokens, logprobs=logprobs, prompt_logprobs=prompt_logprobs)


def check_stream_options(stream: bool | None, stream_options: object) -> None:
    """Makes sure that only streams have stream options.

    Raises:
        InvalidRequestError: They do not.
    """
    if stream_options is not None and not stream:
        message = "Stream options can only be defined when `stream=True`."
        raise InvalidRequestError(message, parameter="stream_options")


def num_listed(params: SamplingParams) -> int:
    """Returns how many tokens are listed beside each sampled one; the sampled one is among those that were named."""
    named = params.logprob_token_ids
    return (params.logprobs or 0) if named is None else len(named) + 1


def _make(
    engine: AsyncLLM, request: ChatCompletionRequest | CompletionRequest, *, logprobs: int | None, **fields: Any
) -> SamplingParams:
    named = request.logprob_token_ids or None
    # Named tokens take the place of the best ones, as in vLLM.
    fields |= {"logprob_token_ids": named, "logprobs": None if named else logprobs}
    given = {name: getattr(request, name) for name in _NAMES}
    # Deltas for whole answers too: they are joined here, so that both ways give one text.
    return engine.default_sampling_params(**given, **fields, output_kind=RequestOutputKind.DELTA)


def _chat_logprobs(request: ChatCompletionRequest, settings: ServerSettings) -> int | None:
    if request.top_logprobs:
        if not request.logprobs:
            message = "when using `top_logprobs`, `logprobs` must be set to true."
            raise InvalidRequestError(message, parameter="top_logprobs")
        _check_logprobs("top_logprobs", request.top_logprobs, settings)
    if request.logprob_token_ids and not request.logprobs:
        message = "when using `logprob_token_ids`, `logprobs` must be set to true."
        raise InvalidRequestError(message, parameter="logprob_token_ids")
    return (request.top_logprobs or 0) if request.logprobs else None


def _prompt_logprobs(request: ChatCompletionRequest | CompletionRequest, settings: ServerSettings) -> int | None:
    if request.prompt_logprobs is not None:
        if request.stream:
            message = "`prompt_logprobs` are not available when `stream=True`."
            raise InvalidRequestError(message, parameter="prompt_logprobs")
        _check_logprobs("prompt_logprobs", request.prompt_logprobs, settings, kind="prompt")
    return request.prompt_logprobs


def _check_logprobs(name: str, value: int, settings: ServerSettings, *, kind: str = "sample") -> None:
    if value < 0:
        raise InvalidRequestError(f"`{name}` must be a positive value, got {value}.", parameter=name)
    if value > settings.max_logprobs:
        message = f"Requested {kind} logprobs of {value}, which is greater than max allowed: {settings.max_logprobs}"
        raise InvalidRequestError(message, parameter=name)
