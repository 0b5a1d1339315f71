"""`/v1/chat/completions`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vllm_local.chat.messages import as_text, normalize_messages
from vllm_local.chat.tools import read_tool_request
from vllm_local.server.answer_form import read_answer_form
from vllm_local.server.answer_options import answer_options
from vllm_local.server.answer_routing import AnswerRouting
from vllm_local.server.answers import collect
from vllm_local.server.chat_chunks import ChatChunks, chat_body
from vllm_local.server.chat_start import chat_answer_params, start_chat_answer
from vllm_local.server.context import ServerContext, get_context
from vllm_local.server.disconnect import run_until_disconnect
from vllm_local.server.json_response import JSONResponse
from vllm_local.server.openapi import json_response
from vllm_local.server.prompts import PromptTokens, check_cache_salt, prepare_chat, truncate
from vllm_local.server.protocol.chat import ChatCompletionRequest
from vllm_local.server.request_ids import request_id_of
from vllm_local.server.request_log import log_request
from vllm_local.server.sampling import chat_sampling_params, check_stream_options, num_listed
from vllm_local.server.streaming import open_stream
from vllm_local.server.unsupported import refuse_unsupported
from vllm_local.server.usage import UsageCounter

router = APIRouter()


@router.post(
    "/v1/chat/completions",
    responses=json_response(
        streams=True, id="string", object="string", created="integer", model="string", choices="array", usage="object"
    ),
)
async def create_chat_completion(request: ChatCompletionRequest, raw: Request) -> Response:
    """Continues a conversation."""
    answer_id = request_id_of(raw, "chatcmpl", request.request_id)
    return await run_until_disconnect(raw.receive, answer_chat(get_context(raw), request, answer_id))


async def answer_chat(context: ServerContext, request: ChatCompletionRequest, answer_id: str) -> Response:
    """Answers a request whole or as a stream.

    Raises:
        VLLMLocalError: It cannot be answered.
    """
    model = context.models.check(request.model)
    refuse_unsupported(request)
    check_stream_options(request.stream, request.stream_options)
    tools = read_tool_request(request.tools, request.tool_choice, request.parallel_tool_calls)
    form = read_answer_form(request)
    params = chat_sampling_params(request, context.engine, context.settings)
    options = answer_options(
        request, context.settings, answer_id=answer_id, model=model, n=params.n, top_logprobs=num_listed(params)
    )
    cache_salt = check_cache_salt(request.cache_salt)
    response = None if form is None else form.constraint
    token_ids, chat = await prepare_chat(context, request, tools, response, cut=request)
    prompt = _cut_prompt(context, request, token_ids, params.max_tokens)
    params = chat_answer_params(params, chat, request.thinking_token_budget)
    usage = UsageCounter([prompt.token_ids], with_details=context.settings.enable_prompt_tokens_details)
    routing = AnswerRouting(
        chat,
        tools,
        usage,
        context.count_tokens,
        n=params.n,
        include_reasoning=request.include_reasoning is not False,
    )
    log_request(context, answer_id, [prompt.token_ids], params)
    generations = await start_chat_answer(
        context, prompt.token_ids, params, tools, form, priority=request.priority, cache_salt=cache_salt
    )
    echo = _echo(context, request)
    if request.stream:
        return await open_stream(context, generations, ChatChunks(options, prompt, routing, echo))
    with generations:
        answers = await collect(generations.outputs(), usage, (1, params.n))
    return JSONResponse(chat_body(options, prompt, routing, answers, echo=echo))


def _cut_prompt(
    context: ServerContext, request: ChatCompletionRequest, token_ids: list[int], max_tokens: int | None
) -> PromptTokens:
    max_model_len = context.engine.config.max_model_len
    token_ids = truncate(token_ids, request, max_tokens=max_tokens, max_model_len=max_model_len)
    wants_text = bool(request.return_prompt_text)
    text = context.engine.tokenizer.decode(token_ids, skip_special_tokens=False) if wants_text else None
    return PromptTokens(token_ids, text)


def _echo(context: ServerContext, request: ChatCompletionRequest) -> str:
    if not request.echo:
        return ""
    last = normalize_messages(request.messages)[-1]
    return as_text(last["content"]) if last["role"] == context.settings.response_role else ""
