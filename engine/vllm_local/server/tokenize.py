"""`/tokenize` and `/detokenize`."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vllm_local.chat.tools import read_tool_request
from vllm_local.errors import InvalidRequestError
from vllm_local.server.context import ServerContext, get_context
from vllm_local.server.json_response import JSONResponse
from vllm_local.server.openapi import json_response
from vllm_local.server.prompts import render_chat
from vllm_local.server.protocol.tokenize import DetokenizeRequest, TokenizeRequest

router = APIRouter()


@router.post("/tokenize", responses=json_response(count="integer", max_model_len="integer", tokens="array"))
async def tokenize(request: TokenizeRequest, raw: Request) -> Response:
    """Returns the tokens of a text or a conversation."""
    context = get_context(raw)
    context.models.check(request.model)
    token_ids = await _encode(context, request)
    tokenizer = context.engine.tokenizer
    pieces = [tokenizer.convert_id_to_piece(token_id) or "" for token_id in token_ids]
    body = {
        "count": len(token_ids),
        "max_model_len": context.engine.config.max_model_len,
        "tokens": token_ids,
        "token_strs": pieces if request.return_token_strs else None,
    }
    return JSONResponse(body)


@router.post("/detokenize", responses=json_response(prompt="string"))
async def detokenize(request: DetokenizeRequest, raw: Request) -> Response:
    """Returns the text of tokens."""
    context = get_context(raw)
    context.models.check(request.model)
    vocab_size = context.engine.config.model.vocab_size
    outside = [token_id for token_id in request.tokens if not 0 <= token_id < vocab_size]
    if outside:
        message = f"Token id {outside[0]} is out of vocabulary, whose ids go from 0 to {vocab_size - 1}."
        raise InvalidRequestError(message, parameter="tokens")
    text = await context.engine.off_loop(context.engine.tokenizer.decode, request.tokens, False)
    return JSONResponse({"prompt": text})


async def _encode(context: ServerContext, request: TokenizeRequest) -> list[int]:
    if request.prompt is None:
        if not request.messages:
            raise InvalidRequestError("Either prompt or messages must be given.", parameter="prompt")
        return await render_chat(context, request, read_tool_request(request.tools or None))
    if request.messages:
        raise InvalidRequestError("Only one of prompt and messages can be tokenized.", parameter="prompt")
    adds_special_tokens = request.add_special_tokens is not False
    text = context.text_limit.check(request.prompt)
    return await context.engine.off_loop(context.engine.tokenizer.encode, text, adds_special_tokens)
