"""`/v1/messages` and `/v1/messages/count_tokens`: Anthropic's API over the same engine."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vllm_local.chat.chat_format import PreparedChat
from vllm_local.errors import InvalidRequestError
from vllm_local.sampling_params import RequestOutputKind
from vllm_local.server.answer_form import AnswerForm, read_format
from vllm_local.server.answer_routing import AnswerRouting
from vllm_local.server.answers import collect
from vllm_local.server.chat_start import chat_answer_params, start_chat_answer
from vllm_local.server.context import ServerContext, get_context
from vllm_local.server.disconnect import run_until_disconnect
from vllm_local.server.json_response import JSONResponse
from vllm_local.server.message_conversation import as_conversation, as_tool_request, thinking_token_budget
from vllm_local.server.message_events import MessageEvents, message_body
from vllm_local.server.openapi import json_response
from vllm_local.server.prompts import prepare_chat, render_chat
from vllm_local.server.protocol.messages import CountTokensRequest, MessagesRequest
from vllm_local.server.request_ids import request_id_of
from vllm_local.server.request_log import log_request
from vllm_local.server.streaming import NAMED_FORMAT, open_stream
from vllm_local.server.usage import UsageCounter

router = APIRouter()

_NOT_YET = ("mcp_servers", "container", "context_management")


@router.post(
    "/v1/messages",
    responses=json_response(
        streams=True, id="string", type="string", role="string", model="string", content="array", usage="object"
    ),
)
async def create_message(request: MessagesRequest, raw: Request) -> Response:
    """Continues a conversation."""
    answer_id = request_id_of(raw, "msg")
    return await run_until_disconnect(raw.receive, answer_message(get_context(raw), request, answer_id))


@router.post("/v1/messages/count_tokens", responses=json_response(input_tokens="integer"))
async def count_tokens(request: CountTokensRequest, raw: Request) -> Response:
    """Returns how long a conversation is for the model."""
    context = get_context(raw)
    context.models.check(request.model)
    _refuse_unsupported(request)
    token_ids = await render_chat(context, as_conversation(request), as_tool_request(request))
    return JSONResponse({"input_tokens": len(token_ids)})


async def answer_message(context: ServerContext, request: MessagesRequest, answer_id: str) -> Response:
    """Answers a request whole or as a stream.

    Raises:
        VLLMLocalError: It cannot be answered.
    """
    model = context.models.check(request.model)
    _refuse_unsupported(request)
    params = context.engine.default_sampling_params(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        stop=request.stop_sequences,
        output_kind=RequestOutputKind.DELTA,
    )
    tools, form = as_tool_request(request), _read_form(request)
    response = None if form is None else form.constraint
    token_ids, chat = await prepare_chat(context, as_conversation(request), tools, response)
    params = chat_answer_params(params, chat, _thinking_budget(request, chat))
    usage = UsageCounter([token_ids])
    routing = AnswerRouting(chat, tools, usage, context.count_tokens)
    log_request(context, answer_id, [token_ids], params)
    generations = await start_chat_answer(context, token_ids, params, tools, form)
    if request.stream:
        return await open_stream(context, generations, MessageEvents(answer_id, model, routing), NAMED_FORMAT)
    with generations:
        (answer,) = await collect(generations.outputs(), usage, (1, 1))
    return JSONResponse(message_body(answer_id, model, routing, answer))


def _read_form(request: MessagesRequest) -> AnswerForm | None:
    """Returns what `output_config.format` asks for, or `output_format`, which it replaces."""
    return read_format((request.output_config or {}).get("format") or request.output_format, "output_config")


def _thinking_budget(request: MessagesRequest, chat: PreparedChat) -> int | None:
    """Returns a limit on thoughts; Anthropic's clients set one for models that do not think as well."""
    budget = thinking_token_budget(request)
    return None if chat.reasoning_format is None or chat.reasoning_format.end is None else budget


def _refuse_unsupported(request: CountTokensRequest) -> None:
    for name in _NOT_YET:
        if getattr(request, name, None):
            raise InvalidRequestError(f"{name} is not yet supported by this version; leave it out.", parameter=name)
