"""Names for requests: the client's own, where it gives one."""

from __future__ import annotations

import uuid

from starlette.requests import Request

MAX_LENGTH = 256
"""Characters of a client's name that are kept; it comes back in every chunk."""


def request_id_of(raw: Request, prefix: str, given: str | None = None) -> str:
    """Returns an answer's id.

    Args:
        raw: The request; its header X-Request-Id wins.
        prefix: What ids of the route begin with.
        given: What the body says.
    """
    return f"{prefix}-{(raw.headers.get('x-request-id') or given or uuid.uuid4().hex)[:MAX_LENGTH]}"
