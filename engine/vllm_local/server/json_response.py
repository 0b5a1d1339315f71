"""JSON as it leaves the server: compact, and always valid UTF-8."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response


def dump_json(content: object) -> bytes:
    """Returns compact JSON; half a surrogate pair, which a request may have brought, becomes a question mark."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class JSONResponse(Response):
    """An answer in JSON."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Takes plain data."""
        super().__init__(content, status_code, headers)

    def render(self, content: Any) -> bytes:
        """Returns the body."""
        return dump_json(content)
