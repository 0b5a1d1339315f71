"""`/v1/completions`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import AsyncGenerator, Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vllm_local.errors import InvalidRequestError
from vllm_local.outputs import CompletionOutput, Logprob, RequestOutput
from vllm_local.sampling_params import SamplingParams
from vllm_local.server.answer_form import read_answer_form
from vllm_local.server.answer_options import answer_options
from vllm_local.server.answers import collect
from vllm_local.server.completion_chunks import CompletionChunks, completion_body
from vllm_local.server.context import ServerContext, get_context
from vllm_local.server.disconnect import run_until_disconnect
from vllm_local.server.generation import Generations, PromptOutput
from vllm_local.server.json_response import JSONResponse
from vllm_local.server.openapi import json_response
from vllm_local.server.prompts import PromptTokens, check_cache_salt, read_prompts, truncate
from vllm_local.server.protocol.completions import CompletionRequest
from vllm_local.server.request_ids import request_id_of
from vllm_local.server.request_log import log_request
from vllm_local.server.sampling import check_stream_options, completion_sampling_params
from vllm_local.server.streaming import Source, open_stream
from vllm_local.server.unsupported import refuse_chat_fields, refuse_unsupported
from vllm_local.server.usage import UsageCounter
from vllm_local.structured_output.blame import blaming
from vllm_local.structured_outputs_params import StructuredOutputsParams

router = APIRouter()


@router.post(
    "/v1/completions",
    responses=json_response(
        streams=True, id="string", object="string", created="integer", model="string", choices="array", usage="object"
    ),
)
async def create_completion(request: CompletionRequest, raw: Request) -> Response:
    """Continues one prompt or many."""
    answer_id = request_id_of(raw, "cmpl", request.request_id)
    return await run_until_disconnect(raw.receive, answer_completion(get_context(raw), request, answer_id))


async def answer_completion(context: ServerContext, request: CompletionRequest, answer_id: str) -> Response:
    """Answers a request whole or as a stream.

    Raises:
        VLLMLocalError: It cannot be answered.
    """
    model = context.models.check(request.model)
    refuse_unsupported(request)
    refuse_chat_fields(request)
    check_stream_options(request.stream, request.stream_options)
    is_echo_only = request.echo and request.max_tokens == 0
    if is_echo_only and request.logprob_token_ids:
        message = "`logprob_token_ids` is not supported when `echo=True` and `max_tokens=0`: no tokens are generated."
        raise InvalidRequestError(message, parameter="logprob_token_ids")
    sampled = request.model_copy(update={"max_tokens": 1}) if is_echo_only else request
    params = completion_sampling_params(sampled, context.engine, context.settings)
    form = read_answer_form(request)
    if form is not None:
        params = dataclasses.replace(params, structured_outputs=StructuredOutputsParams(constraint=form.constraint))
    options = answer_options(
        request, context.settings, answer_id=answer_id, model=model, n=params.n, top_logprobs=request.logprobs or 0
    )
    prompts = await _prepare_prompts(context, request, params.max_tokens)
    token_ids = [prompt.token_ids for prompt in prompts]
    usage = UsageCounter(token_ids, with_details=context.settings.enable_prompt_tokens_details)
    log_request(context, answer_id, token_ids, params)
    with blaming("" if form is None else form.field):
        source = await _start(context, request, token_ids, params, is_echo_only=is_echo_only)
    if request.stream:
        return await open_stream(context, source, CompletionChunks(options, prompts, usage, echo=request.echo))
    try:
        answers = await collect(source.outputs(), usage, (len(prompts), params.n))
    finally:
        source.close()
    return JSONResponse(completion_body(options, prompts, usage, answers, echo=request.echo))


class EchoOnly:
    """The answers to `echo` with `max_tokens=0`: none, so that the engine is not asked."""

    def __init__(self, prompts: Sequence[list[int]], n: int) -> None:
        """Takes the prompts, and how many answers each gets."""
        self._prompts = prompts
        self._n = n

    async def outputs(self) -> AsyncGenerator[PromptOutput, None]:
        """Yields empty answers."""
        for index, token_ids in enumerate(self._prompts):
            empty = [CompletionOutput(choice, "", [], finish_reason="length") for choice in range(self._n)]
            yield index, RequestOutput("", None, token_ids, empty, finished=True)

    def close(self) -> None:
        """Does nothing: nothing was started."""


class DescribedEcho:
    """The same where the prompts' log-probabilities are wanted: they come with a first token, which is not shown."""

    def __init__(self, generations: Generations, params: SamplingParams) -> None:
        """Takes answers of one token, one to each prompt, and what the request asked for."""
        self._generations = generations
        self._params = params

    async def outputs(self) -> AsyncGenerator[PromptOutput, None]:
        """Yields empty answers; an aborted one says so."""
        async for index, output in self._generations.outputs():
            (answer,) = output.outputs
            reason = "abort" if answer.finish_reason == "abort" else "length"
            logprobs: list[dict[int, Logprob]] | None = [] if self._params.reports_logprobs else None
            empty = [
                CompletionOutput(choice, "", [], logprobs=logprobs, finish_reason=reason)
                for choice in range(self._params.n)
            ]
            yield index, dataclasses.replace(output, outputs=empty)

    def close(self) -> None:
        """Ends what has not ended."""
        self._generations.close()


async def _start(
    context: ServerContext,
    request: CompletionRequest,
    token_ids: list[list[int]],
    params: SamplingParams,
    *,
    is_echo_only: bool,
) -> Source:
    if is_echo_only and params.prompt_logprobs is None:
        return EchoOnly(token_ids, params.n)
    sampled = dataclasses.replace(params, n=1, logprobs=None, stop=()) if is_echo_only else params
    cache_salt = check_cache_salt(request.cache_salt)
    generations = await Generations.start(context, token_ids, sampled, priority=request.priority, cache_salt=cache_salt)
    return DescribedEcho(generations, params) if is_echo_only else generations


async def _prepare_prompts(
    context: ServerContext, request: CompletionRequest, max_tokens: int | None
) -> list[PromptTokens]:
    prompts = []
    decode = functools.partial(context.engine.tokenizer.decode, skip_special_tokens=False)
    max_model_len = context.engine.config.max_model_len
    for prompt in await read_prompts(context, request):
        token_ids = truncate(prompt.token_ids, request, max_tokens=max_tokens, max_model_len=max_model_len)
        text = prompt.text
        if text is None and (request.echo or request.return_prompt_text):
            text = decode(token_ids)
        first_token = decode(token_ids[:1]) if request.echo and request.logprobs is not None else ""
        prompts.append(PromptTokens(token_ids, text, first_token))
    return prompts
