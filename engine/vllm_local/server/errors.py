"""What goes wrong, as HTTP: one table from exceptions to statuses, and the bodies that clients read."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from vllm_local.errors import EngineClosedError, EngineError, InvalidRequestError, VLLMLocalError
from vllm_local.server.json_response import JSONResponse

logger = logging.getLogger(__name__)

MESSAGES_PATH = "/v1/messages"
"""Anthropic's route, whose errors have Anthropic's shape."""


class ModelNotServedError(InvalidRequestError):
    """A model's name that this server does not go by."""


class QueueFullError(VLLMLocalError):
    """More requests wait than the server was told to let wait."""

    retry_after = 1
    """Seconds after which a client may ask again."""


@dataclass(frozen=True, slots=True)
class ErrorStatus:
    """How an error looks to a client: the HTTP status, and OpenAI's and Anthropic's words for it."""

    status: int
    kind: str
    anthropic_kind: str


_BAD_REQUEST = ErrorStatus(400, "BadRequestError", "invalid_request_error")
_INTERNAL = ErrorStatus(500, "InternalServerError", "api_error")
_UNAVAILABLE = ErrorStatus(503, "ServiceUnavailableError", "overloaded_error")

ERROR_STATUSES: tuple[tuple[type[Exception], ErrorStatus], ...] = (
    (ModelNotServedError, ErrorStatus(404, "NotFoundError", "not_found_error")),
    (InvalidRequestError, _BAD_REQUEST),
    (QueueFullError, _UNAVAILABLE),
    (EngineClosedError, _UNAVAILABLE),
    (Exception, _INTERNAL),
)
"""The first that fits counts."""

_ANTHROPIC_KINDS: Mapping[int, str] = {
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
}
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_PATH = re.compile(r"(?<![^\s'\"(=])(?:[A-Za-z]:)?[\\/](?:[^\\/\s]+[\\/])+[^\s'\",;:)]*")
"""A file of this machine's; in errors of ours alone, since a client's own words may look like one."""
_MAX_ERRORS = 10
_MAX_INPUT = 200
_MAX_MESSAGE = 2000


def status_of(error: Exception) -> ErrorStatus:
    """Returns how an error looks to a client."""
    return next(status for kind, status in ERROR_STATUSES if isinstance(error, kind))


def message_of(error: Exception) -> str:
    """Returns what a client may read: the words of our own errors, and nothing of others."""
    if isinstance(error, VLLMLocalError):
        text = _ADDRESS.sub("", str(error))
        return _shorten(_PATH.sub("…", text) if isinstance(error, EngineError) else text, _MAX_MESSAGE)
    logger.error("A request failed unexpectedly.", exc_info=error)
    return "Internal server error"


def error_body(message: str, kind: str, status: int, param: str | None = None) -> dict[str, Any]:
    """Returns an error in OpenAI's shape, as vLLM fills it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def body_of(error: Exception) -> dict[str, Any]:
    """Returns any error in OpenAI's shape."""
    status = status_of(error)
    return error_body(message_of(error), status.kind, status.status, getattr(error, "parameter", None))


def anthropic_body(message: str, kind: str) -> dict[str, Any]:
    """Returns an error in Anthropic's shape."""
    return {"type": "error", "error": {"type": kind, "message": message}}


async def answer_error(request: Request, error: Exception) -> Response:
    """Answers any error of ours, and what nobody expected."""
    status = status_of(error)
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, QueueFullError) else None
    body = body_of(error)
    if _is_anthropic(request):
        body = anthropic_body(body["error"]["message"], status.anthropic_kind)
    return JSONResponse(body, status.status, headers)


async def answer_invalid_body(request: Request, error: Exception) -> Response:
    """Answers a body that is no JSON, or has a field of a wrong type or none that it needs."""
    assert isinstance(error, RequestValidationError), "registered for that alone"
    if _is_other_content_type(request):
        message = "Unsupported Media Type: Only 'application/json' is allowed"
        return _answer(request, message, 400)
    problems = error.errors()
    shown = [_show_problem(problem) for problem in problems[:_MAX_ERRORS]]
    plural = "" if len(problems) == 1 else "s"
    message = f"{len(problems)} validation error{plural}:\n" + "\n".join(f"  {item}" for item in shown)
    return _answer(request, message, 400, _location(problems[0].get("loc", ())) if problems else None)


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Answers what the framework refuses; unknown routes and methods in its own shape, as vLLM does."""
    assert isinstance(error, HTTPException), "registered for that alone"
    if error.status_code in {404, 405}:
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
    response = _answer(request, str(error.detail), error.status_code)
    response.headers.update(error.headers or {})
    return response


async def answer_nobody(request: Request, error: Exception) -> Response:  # noqa: ARG001 - a handler gets both
    """Ends a request whose client has gone; nobody reads it, but the access log tells it from a success."""
    return Response(status_code=499)


def _answer(request: Request, message: str, status: int, param: str | None = None) -> JSONResponse:
    if _is_anthropic(request):
        return JSONResponse(anthropic_body(message, _ANTHROPIC_KINDS.get(status, "invalid_request_error")), status)
    return JSONResponse(error_body(message, HTTPStatus(status).phrase, status, param), status)


def _is_anthropic(request: Request) -> bool:
    path = request.url.path
    return path.endswith(MESSAGES_PATH) or f"{MESSAGES_PATH}/" in path


def _is_other_content_type(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type != "application/json" and not media_type.endswith("+json")


def _location(parts: Sequence[object]) -> str:
    return ".".join(str(part) for part in parts)


def _show_problem(problem: Mapping[str, Any]) -> str:
    shown = {"type": problem.get("type"), "loc": _location(problem.get("loc", ())), "msg": problem.get("msg")}
    shown["input"] = _excerpt(problem.get("input"))
    return str(shown)


def _excerpt(value: object) -> str:
    """Returns a value as vLLM shows it: no more than the size of what could hold a conversation."""
    if isinstance(value, (dict, list)):
        return f"<{type(value).__name__} of {len(value)} items>"
    text = value if isinstance(value, str) else repr(value)
    return _shorten(text, _MAX_INPUT)


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
