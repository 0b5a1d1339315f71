"""`/v1/models`, and `/v1/embeddings`, which a generating model does not have."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vllm_local.errors import UnsupportedInputError
from vllm_local.server.context import get_context
from vllm_local.server.json_response import JSONResponse
from vllm_local.server.openapi import json_response

router = APIRouter()


@router.get("/v1/models", responses=json_response(object="string", data="array"))
async def list_models(raw: Request) -> Response:
    """Lists the names that the model goes by."""
    models = get_context(raw).models
    return JSONResponse({"object": "list", "data": [models.describe(name) for name in models.names]})


@router.get(
    "/v1/models/{name:path}",
    responses=json_response(
        id="string", object="string", created="integer", owned_by="string", max_model_len="integer"
    ),
)
async def get_model(name: str, raw: Request) -> Response:
    """Describes the model by one of its names."""
    models = get_context(raw).models
    return JSONResponse(models.describe(models.check(name)))


@router.post("/v1/embeddings")
async def create_embedding(raw: Request) -> Response:
    """Refuses: the model generates text."""
    name = get_context(raw).models.names[0]
    message = f"The model does not support Embeddings API: {name} generates text. Serve an embedding model for it."
    raise UnsupportedInputError(message, parameter="model")
