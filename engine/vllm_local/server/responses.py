"""`/v1/responses`, stateless: whoever continues a conversation sends it along."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vllm_local.errors import InvalidRequestError
from vllm_local.sampling_params import SamplingParams
from vllm_local.server.answer_form import AnswerForm, read_answer_form, read_format
from vllm_local.server.answer_routing import AnswerRouting
from vllm_local.server.answer_segments import Segments
from vllm_local.server.answers import collect
from vllm_local.server.chat_start import chat_answer_params, start_chat_answer
from vllm_local.server.context import ServerContext, get_context
from vllm_local.server.disconnect import run_until_disconnect
from vllm_local.server.json_response import JSONResponse
from vllm_local.server.openapi import json_response
from vllm_local.server.prompts import check_cache_salt, prepare_chat
from vllm_local.server.protocol.base import SamplingFields
from vllm_local.server.protocol.chat import ChatCompletionRequest
from vllm_local.server.protocol.responses import ResponsesRequest
from vllm_local.server.request_ids import request_id_of
from vllm_local.server.request_log import log_request
from vllm_local.server.response_conversation import as_conversation, as_tool_request
from vllm_local.server.response_events import ResponseEvents, ResponseShape
from vllm_local.server.sampling import chat_sampling_params
from vllm_local.server.streaming import NAMED_FORMAT, open_stream
from vllm_local.server.unsupported import refuse_unsupported
from vllm_local.server.usage import UsageCounter

router = APIRouter()

_LOGPROBS = "message.output_text.logprobs"
_CHAT_ONLY = ("prompt_logprobs", "logprob_token_ids")
_STATEFUL = {
    "previous_response_id": "This server keeps no responses: send the conversation itself as `input`.",
    "conversation": "This server keeps no conversations: send the conversation itself as `input`.",
    "background": "This server keeps no responses, so none can be fetched later: leave `background` out.",
    "prompt": "This server keeps no prompts: send the text itself as `input`.",
}


@router.post(
    "/v1/responses",
    responses=json_response(
        streams=True,
        id="string",
        object="string",
        created_at="integer",
        model="string",
        output="array",
        status="string",
        usage="object",
    ),
)
async def create_response(request: ResponsesRequest, raw: Request) -> Response:
    """Answers a text or a conversation."""
    answer_id = request_id_of(raw, "resp", request.request_id)
    return await run_until_disconnect(raw.receive, answer_response(get_context(raw), request, answer_id))


async def answer_response(context: ServerContext, request: ResponsesRequest, answer_id: str) -> Response:
    """Answers a request whole or as a stream.

    Raises:
        VLLMLocalError: It cannot be answered.
    """
    model = context.models.check(request.model)
    _refuse(request)
    params = _sampling_params(context, request)
    cache_salt = check_cache_salt(request.cache_salt)
    tools, form = as_tool_request(request), _read_form(request)
    response = None if form is None else form.constraint
    token_ids, chat = await prepare_chat(context, as_conversation(request), tools, response)
    params = chat_answer_params(params, chat, request.thinking_token_budget)
    usage = UsageCounter([token_ids])
    shows_thoughts = request.include_reasoning is not False
    routing = AnswerRouting(chat, tools, usage, context.count_tokens, include_reasoning=shows_thoughts)
    shape = ResponseShape(answer_id, model, request, params, routing)
    log_request(context, answer_id, [token_ids], params)
    generations = await start_chat_answer(
        context, token_ids, params, tools, form, priority=request.priority, cache_salt=cache_salt
    )
    if request.stream:
        return await open_stream(context, generations, ResponseEvents(shape), NAMED_FORMAT)
    with generations:
        (answer,) = await collect(generations.outputs(), usage, (1, 1))
    segments = Segments(routing.feed(0, answer.text, is_last=True))
    return JSONResponse(shape.body("completed", answer, segments))


def _read_form(request: ResponsesRequest) -> AnswerForm | None:
    """Returns what `text.format` asks for, or one of vLLM's own fields."""
    return read_format((request.text or {}).get("format"), "text.format") or read_answer_form(request)


def _sampling_params(context: ServerContext, request: ResponsesRequest) -> SamplingParams:
    """Borrows the chat route's rules; the names differ in two places."""
    wants_logprobs = _LOGPROBS in (request.include or ()) or bool(request.top_logprobs)
    chat = ChatCompletionRequest.model_construct(
        **{name: getattr(request, name) for name in SamplingFields.model_fields},
        top_logprobs=request.top_logprobs,
        messages=[],
        max_tokens=request.max_output_tokens,
        logprobs=wants_logprobs,
    )
    return chat_sampling_params(chat, context.engine, context.settings)


def _refuse(request: ResponsesRequest) -> None:
    refuse_unsupported(request)
    for name, message in _STATEFUL.items():
        if getattr(request, name, None):
            raise InvalidRequestError(message, parameter=name)
    for name in _CHAT_ONLY:
        if getattr(request, name, None) not in (None, []):
            message = f"{name} is not supported by this route; /v1/chat/completions and /v1/completions have it."
            raise InvalidRequestError(message, parameter=name)
    if request.n not in {None, 1}:
        raise InvalidRequestError("n must be 1: a response has one answer.", parameter="n")
    if request.truncation not in {None, "disabled"}:
        message = f"truncation={request.truncation!r} is not supported: a prompt that is too long is an error."
        raise InvalidRequestError(message, parameter="truncation")
    unknown = [item for item in request.include or () if item not in {_LOGPROBS, "reasoning.encrypted_content"}]
    if unknown:
        raise InvalidRequestError(f"include={unknown[0]!r} is not supported by this server.", parameter="include")
