"""OpenAI's batch format: one request a line, one result a line, in the same order."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpx

BAD_REQUEST = 400


@dataclass(frozen=True)
class BatchRequest:
    """A line of the input.

    Attributes:
        custom_id: The user's name for it; None where the line has none.
        url: The path that it is for.
        body: The request.
        error: What is wrong with the line, if anything; then there is no request.
    """

    custom_id: str | None
    url: str = ""
    body: Any = None
    error: str | None = None

    @classmethod
    def parse(cls, line: str, number: int) -> BatchRequest:
        """Reads a line.

        Args:
            line: Its text.
            number: Which line it is, from 1, for messages.
        """
        try:
            content = json.loads(line)
        except (
            ValueError,
            RecursionError,
        ) as error:  # also numbers of thousands of digits, and lists in lists in lists
            return cls(None, error=f"Line {number} is not JSON: {error}")
        if not isinstance(content, dict) or not isinstance(content.get("custom_id"), str):
            return cls(None, error=f"Line {number} must be an object with a custom_id, a text.")
        request = cls(content["custom_id"], str(content.get("url")), content.get("body"))
        return cls(request.custom_id, error=f"Line {number}: {fault}") if (fault := _find_fault(content)) else request


def _find_fault(content: dict[str, Any]) -> str | None:
    url, body = content.get("url"), content.get("body")
    if content.get("method", "POST") != "POST":
        return f"method must be POST, got {content['method']!r}."
    if not isinstance(url, str) or not _is_path(url):
        return f"url must be a path such as /v1/chat/completions, got {url!r}."
    if not isinstance(body, dict):
        return f"body must be an object, got {type(body).__name__}."
    if body.get("stream"):
        return "stream must not be set: a batch has no streams."
    return None


def _is_path(url: str) -> bool:
    try:
        return httpx.URL(url).raw_path.startswith(b"/") and url.startswith("/")
    except (httpx.InvalidURL, UnicodeEncodeError):
        return False


async def answer_batch(
    client: httpx.AsyncClient, lines: Iterable[str], write: Callable[[str], None], *, window: int
) -> int:
    """Answers lines and writes results in the lines' order; returns how many were errors.

    Args:
        client: Sends requests to the server.
        lines: The input; empty lines are skipped.
        write: Takes a line of the output, without its end.
        window: Requests under way, or done and waiting for an earlier one, at a time.
    """
    tasks: deque[asyncio.Task[dict[str, Any]]] = deque()
    num_errors = 0

    async def finish_oldest() -> int:
        result = await tasks.popleft()
        write(json.dumps(result, ensure_ascii=False))
        return int(result["error"] is not None)

    try:
        for number, line in enumerate(lines, 1):
            if line.strip():
                tasks.append(asyncio.create_task(answer(client, BatchRequest.parse(line, number))))
            if len(tasks) >= window:
                num_errors += await finish_oldest()
        while tasks:
            num_errors += await finish_oldest()
    finally:
        for task in tasks:
            task.cancel()
    return num_errors


async def answer(client: httpx.AsyncClient, request: BatchRequest) -> dict[str, Any]:
    """Returns a request's line of the output, as vLLM writes it."""
    if request.error is not None:
        fault = {"message": request.error, "type": "BadRequestError", "param": None, "code": BAD_REQUEST}
        return _result(request, BAD_REQUEST, error=fault)
    # As ASCII: half a surrogate pair, which JSON may spell, is no UTF-8, and the server's to refuse.
    content = json.dumps(request.body).encode("ascii")
    response = await client.post(request.url, content=content, headers={"Content-Type": "application/json"})
    try:
        answered = response.json()
    except ValueError:
        answered = {"message": response.text[:500]}
    if response.is_error:
        return _result(request, response.status_code, error=answered.get("error", answered))
    return _result(request, response.status_code, body=answered)


def _result(request: BatchRequest, status: int, *, body: Any = None, error: Any = None) -> dict[str, Any]:
    return {
        "id": f"vllm-{uuid.uuid4().hex}",
        "custom_id": request.custom_id,
        "response": {"status_code": status, "request_id": f"vllm-batch-{uuid.uuid4().hex}", "body": body},
        "error": error,
    }
