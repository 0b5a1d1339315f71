"""`/openapi.json`: what FastAPI finds out by itself, put right."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from vllm_local.server.settings import ServerSettings

_INVENTED = ("HTTPValidationError", "ValidationError")
"""FastAPI documents 422 for invalid bodies; here they are answered 400, as by vLLM."""


class ErrorInfo(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: int


class ErrorResponse(BaseModel):
    """An error in OpenAI's shape."""

    error: ErrorInfo


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "The request is wrong; `param` names the field."},
    401: {"description": "The key is missing or wrong."},
    403: {"model": ErrorResponse, "description": "The server does not go by the name in `Host`."},
    404: {"model": ErrorResponse, "description": "There is no such model."},
    408: {"model": ErrorResponse, "description": "The body stopped coming."},
    413: {"model": ErrorResponse, "description": "The body is too large, or has too many values."},
    500: {"model": ErrorResponse, "description": "The engine failed."},
    503: {"model": ErrorResponse, "description": "Too many requests wait, or the server is shutting down."},
}
"""For routes that answer in OpenAI's shape."""

PLAIN_ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": response["description"]} for status, response in ERROR_RESPONSES.items()
}
"""For routes whose errors have another shape, or none."""


def text_response(media_type: str) -> dict[int | str, dict[str, Any]]:
    """Describes an answer that is a text."""
    return {200: {"description": "A text.", "content": {media_type: {"schema": {"type": "string"}}}}}


def json_response(*, streams: bool = False, **kinds: str) -> dict[int | str, dict[str, Any]]:
    """Describes an answer in JSON.

    Args:
        streams: Whether it may come as a stream of events instead.
        **kinds: The JSON types of its fields, all of which are always there.
    """
    properties = {name: {"type": kind} for name, kind in kinds.items()}
    schema = {"type": "object", "properties": properties, "required": list(kinds)}
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if streams:
        content["text/event-stream"] = {}
    return {200: {"description": "The answer.", "content": content}}


def describe_app(app: FastAPI, settings: ServerSettings) -> None:
    """Makes an app describe itself as it is."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app, settings)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _describe(app: FastAPI, settings: ServerSettings) -> dict[str, Any]:
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    components = schema.setdefault("components", {})
    for name in _INVENTED:
        components.get("schemas", {}).pop(name, None)
    if settings.api_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"key": []}]
    return schema
