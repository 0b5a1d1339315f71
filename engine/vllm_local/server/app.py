"""The HTTP app: routes, errors and middleware over one engine."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

import vllm_local
from vllm_local.async_llm import AsyncLLM
from vllm_local.errors import VLLMLocalError
from vllm_local.server import chat_completions, completions, messages, models, operations, responses, tokenize
from vllm_local.server.context import make_context
from vllm_local.server.errors import answer_error, answer_http_error, answer_invalid_body, answer_nobody
from vllm_local.server.middleware.authentication import Authentication
from vllm_local.server.middleware.body_limit import BodyLimit
from vllm_local.server.middleware.host_check import HostCheck, checks_hosts
from vllm_local.server.middleware.request_id_header import RequestIdHeader
from vllm_local.server.middleware.root_path import RootPath
from vllm_local.server.openapi import ERROR_RESPONSES, PLAIN_ERROR_RESPONSES, describe_app
from vllm_local.server.settings import ServerSettings

_ROUTERS = (chat_completions.router, completions.router, responses.router, models.router, tokenize.router)
_OTHER_ROUTERS = (messages.router, operations.router)


def create_app(engine: AsyncLLM, settings: ServerSettings) -> FastAPI:
    """Returns the app that serves an engine; the engine stays the caller's to close.

    Args:
        engine: The loaded model.
        settings: What the user said about the server.

    Raises:
        InvalidConfigError: The settings' chat template is neither a template nor a file.
    """
    context = make_context(engine, settings)
    documented = not settings.disable_fastapi_docs
    app = FastAPI(
        title="vllm-local",
        version=vllm_local.__version__,
        description="OpenAI's, vLLM's and Anthropic's routes over one local model.",
        docs_url="/docs" if documented else None,
        redoc_url="/redoc" if documented else None,
        openapi_url="/openapi.json" if documented else None,
    )
    app.state.context = context
    for router in _ROUTERS:
        app.include_router(router, responses=ERROR_RESPONSES)
    for router in _OTHER_ROUTERS:
        app.include_router(router, responses=PLAIN_ERROR_RESPONSES)
    describe_app(app, settings)
    _add_error_handlers(app)
    _add_middleware(app, settings)
    return app


def _add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(RequestValidationError, answer_invalid_body)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(ClientDisconnect, answer_nobody)
    app.add_exception_handler(VLLMLocalError, answer_error)
    app.add_exception_handler(Exception, answer_error)


def _add_middleware(app: FastAPI, settings: ServerSettings) -> None:
    """Adds from the inside out: the last one sees a request first."""
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, timeout=settings.body_timeout)
    if settings.api_key:
        app.add_middleware(Authentication, api_keys=settings.api_key)
    if settings.enable_request_id_headers:
        app.add_middleware(RequestIdHeader)
    if settings.root_path:
        app.add_middleware(RootPath, root_path=settings.root_path)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_credentials=settings.allow_credentials,
            allow_methods=settings.allowed_methods,
            allow_headers=settings.allowed_headers,
        )
    if checks_hosts(settings):
        app.add_middleware(HostCheck, settings=settings)
