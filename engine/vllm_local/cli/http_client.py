"""HTTP clients for servers with OpenAI's API, and what their errors say."""

from __future__ import annotations

import json
import os
from typing import Any

import httpx

from vllm_local.cli.flags.arguments import API_KEY_VARIABLE
from vllm_local.errors import InvalidConfigError, VLLMLocalError
from vllm_local.loopback import is_loopback


def client_arguments(url: str, api_key: str | None = None, *, verify: bool = True) -> dict[str, Any]:
    """Returns the arguments of an httpx client for a server.

    Args:
        url: The server, or a path prefix on it.
        api_key: Its key; VLLM_API_KEY of the environment by default.
        verify: Whether its certificate is checked.

    Raises:
        InvalidConfigError: The URL is none.
    """
    try:
        is_local = is_loopback(httpx.URL(url).host)
    except httpx.InvalidURL as error:
        raise InvalidConfigError(f"{url!r} is no URL such as http://localhost:8000/v1: {error}") from error
    key = api_key or os.environ.get(API_KEY_VARIABLE)
    return {
        "base_url": url,
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
        # An answer takes as long as it takes; only an absent server should be noticed soon.
        "timeout": httpx.Timeout(None, connect=10),
        "verify": verify,
        # A proxy cannot reach this machine's own loopback address.
        "trust_env": not is_local,
    }


def unreachable(url: str, error: httpx.HTTPError) -> VLLMLocalError:
    """Returns an error for a server that did not answer."""
    reason = str(error) or type(error).__name__
    return VLLMLocalError(
        f"The server at {url} does not answer ({reason}). Is it running? `vllm-local serve` starts one."
    )


def refused(status: int, body: bytes) -> VLLMLocalError:
    """Returns an error for what a server answered instead of a result."""
    return VLLMLocalError(f"The server answered {status}: {error_message(body)}")


def error_message(body: bytes) -> str:
    """Returns the message in an error's body, of whatever shape."""
    try:
        content = json.loads(body)
    except ValueError:
        return body.decode(errors="replace").strip()[:500] or "nothing"
    error = content.get("error", content) if isinstance(content, dict) else content
    message = error.get("message", error) if isinstance(error, dict) else error
    return message if isinstance(message, str) else json.dumps(message)
