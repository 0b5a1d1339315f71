"""Routes for those who run the server: is it alive, what is it, how is it doing."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

import vllm_local
from vllm_local.errors import EngineError
from vllm_local.server.context import get_context
from vllm_local.server.json_response import JSONResponse
from vllm_local.server.openapi import json_response, text_response

router = APIRouter()

_SECRETS = ("api_key", "hf_token")


@router.get("/health", response_class=Response)
async def health(raw: Request) -> Response:
    """Answers 200 while requests are served, 503 once the engine has ended."""
    return _health(raw)


@router.get("/ping", response_class=Response)
async def ping(raw: Request) -> Response:
    """Does the same, under SageMaker's name."""
    return _health(raw)


@router.post("/ping", include_in_schema=False)
async def ping_by_post(raw: Request) -> Response:
    """Does the same."""
    return _health(raw)


@router.get("/version", responses=json_response(version="string"))
async def version() -> Response:
    """Tells the version."""
    return JSONResponse({"version": vllm_local.__version__})


@router.get("/load", responses=json_response(server_load="integer"))
async def load(raw: Request) -> Response:
    """Tells how many answers are awaited, where the settings say so."""
    context = get_context(raw)
    tracked = context.settings.enable_server_load_tracking
    return JSONResponse({"server_load": context.admission.num_choices if tracked else 0})


@router.get("/metrics", responses=text_response("text/plain"))
async def metrics(raw: Request) -> Response:
    """Shows the metrics in Prometheus' text format."""
    return Response(get_context(raw).metrics.render(), media_type=CONTENT_TYPE_LATEST)


@router.get("/server_info", responses=json_response(version="string", vllm_config="object", server_settings="object"))
async def server_info(raw: Request) -> Response:
    """Shows how the engine and the server are set up; no keys."""
    context = get_context(raw)
    config = context.engine.config
    body = {
        "version": vllm_local.__version__,
        "vllm_config": _shown(config),
        "server_settings": _shown(context.settings),
    }
    return JSONResponse(body)


@router.post("/reset_prefix_cache", responses=json_response(success="boolean"))
async def reset_prefix_cache(raw: Request) -> Response:
    """Forgets all cached prefixes; `success` is false, and nothing happens, while requests run."""
    engine = get_context(raw).engine
    return JSONResponse({"success": await engine.off_loop(engine.reset_prefix_cache)})


def _health(raw: Request) -> Response:
    try:
        get_context(raw).engine.check_health()
    except EngineError:
        return Response(status_code=503)
    return Response(status_code=200)


def _shown(settings: Any) -> Any:
    """Returns nested dataclasses as plain data, without secrets."""
    if dataclasses.is_dataclass(settings):
        fields = (item.name for item in dataclasses.fields(settings) if item.name not in _SECRETS)
        return {name: _shown(getattr(settings, name)) for name in fields}
    if isinstance(settings, (tuple, list)):
        return [_shown(item) for item in settings]
    return settings if isinstance(settings, (str, int, float, bool, dict, type(None))) else str(settings)
