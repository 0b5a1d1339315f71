"""`/v1/messages` and `/v1/messages/count_tokens`: Anthropic's API over the same engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vllm_local.errors import InvalidRequestError
from vllm_local.sampling_params import RequestOutputKind
from vllm_local.server.answers import collect
from vllm_local.server.context import ServerContext, get_context
from vllm_local.server.disconnect import run_until_disconnect
from vllm_local.server.generation import Generations
from vllm_local.server.json_response import JSONResponse
from vllm_local.server.message_events import MessageEvents, message_body
from vllm_local.server.openapi import json_response
from vllm_local.server.prompts import render_chat
from vllm_local.server.protocol.base import TemplateFields
from vllm_local.server.protocol.messages import CountTokensRequest, MessagesRequest
from vllm_local.server.request_ids import request_id_of
from vllm_local.server.request_log import log_request
from vllm_local.server.streaming import NAMED_FORMAT, open_stream
from vllm_local.server.usage import UsageCounter

router = APIRouter()

_HARMLESS_TYPES: Mapping[str, tuple[str, ...]] = {"tool_choice": ("auto", "none"), "thinking": ("disabled",)}
_NOT_YET = ("tools", "mcp_servers", "container", "context_management", "output_format", "output_config")


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
    return JSONResponse({"input_tokens": len(await render_chat(context, as_conversation(request)))})


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
    token_ids = await render_chat(context, as_conversation(request))
    usage = UsageCounter([token_ids])
    log_request(context, answer_id, [token_ids], params)
    generations = await Generations.start(context, [token_ids], params)
    if request.stream:
        return await open_stream(context, generations, MessageEvents(answer_id, model, usage), NAMED_FORMAT)
    with generations:
        (answer,) = await collect(generations.outputs(), usage, (1, 1))
    return JSONResponse(message_body(answer_id, model, usage, answer))


def as_conversation(request: CountTokensRequest) -> TemplateFields:
    """Returns Anthropic's conversation as OpenAI's: the system prompt is a message."""
    messages: list[dict[str, Any]] = [{"role": item.role, "content": item.content} for item in request.messages]
    if request.system:
        messages.insert(0, {"role": "system", "content": request.system})
    return TemplateFields.model_construct(messages=messages)  # not checked again: there may be very many


def _refuse_unsupported(request: CountTokensRequest) -> None:
    for name in _NOT_YET:
        if getattr(request, name, None):
            raise InvalidRequestError(f"{name} is not yet supported by this version; leave it out.", parameter=name)
    for name, harmless in _HARMLESS_TYPES.items():
        value = getattr(request, name, None)
        if value and value.get("type") not in harmless:
            message = f"{name}={value.get('type')!r} is not yet supported by this version; leave it out."
            raise InvalidRequestError(message, parameter=name)
