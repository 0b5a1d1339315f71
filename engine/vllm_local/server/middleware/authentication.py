"""`--api-key`: who may use the model."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from vllm_local.server.json_response import JSONResponse

_GUARDED = ("/v1", "/server_info", "/reset_prefix_cache")
"""vLLM's one prefix, and two routes that it shows to developers only."""


class Authentication:
    """Lets a request in that brings one of the keys, as a bearer token or, as Anthropic's clients do, as x-api-key."""

    def __init__(self, app: ASGIApp, api_keys: Sequence[str]) -> None:
        """Takes the keys; none is kept, only their hashes."""
        self._app = app
        self._hashes = [_hash(key.encode()) for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers 401."""
        if scope["type"] != "http" or not _is_guarded(scope) or self._has_key(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        response = JSONResponse({"error": "Unauthorized"}, 401, {"WWW-Authenticate": "Bearer"})
        await response(scope, receive, send)

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token if scheme.lower() == "bearer" else headers.get("x-api-key")
        if not given:
            return False
        hashed, matches = _hash(given.encode("latin-1")), False  # as it came: ASGI decodes headers so
        # Every key is compared, in constant time, so that the time of an answer tells nothing.
        for known in self._hashes:
            matches |= secrets.compare_digest(hashed, known)
        return matches


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _is_guarded(scope: Scope) -> bool:
    path, root_path = scope["path"], scope.get("root_path", "")
    if root_path and path.startswith(f"{root_path}/"):  # as the router takes it off, or else "/v" would unlock "/v1"
        path = path[len(root_path) :]
    is_below = any(path == prefix or path.startswith(f"{prefix}/") for prefix in _GUARDED)
    return is_below and scope["method"] != "OPTIONS"
