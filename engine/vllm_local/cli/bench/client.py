"""One measured request."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from vllm_local.cli.bench.sample import SampleRequest
from vllm_local.cli.http_client import error_message
from vllm_local.cli.http_source import DONE

CHAT_BACKEND = "openai-chat"
BACKENDS = ("openai", "vllm", CHAT_BACKEND)


@dataclass
class Outcome:
    """How a request went.

    Attributes:
        prompt_len: Tokens of the prompt.
        success: Whether it was answered.
        error: What went wrong, else "".
        text: The answer.
        output_tokens: Tokens of it, as the server counts; else its chunks.
        start_time: When it was sent, in seconds of a clock that only goes on.
        client_queue_time: Seconds that it waited before, for `--max-concurrency`.
        ttft: Seconds to the first token.
        itl: Seconds between chunks after that.
        latency: Seconds to the last one.
    """

    prompt_len: int
    success: bool = False
    error: str = ""
    text: str = ""
    output_tokens: int = 0
    start_time: float = 0.0
    client_queue_time: float = 0.0
    ttft: float = 0.0
    itl: list[float] = field(default_factory=list)
    latency: float = 0.0


@dataclass(frozen=True)
class Target:
    """Where requests go, and what all of them say.

    Attributes:
        backend: One of `BACKENDS`.
        endpoint: The path.
        model: The model's name.
        body: Further fields: sampling parameters and the like.
    """

    backend: str
    endpoint: str
    model: str
    body: Mapping[str, Any] = field(default_factory=dict)

    def request_body(self, sample: SampleRequest) -> dict[str, Any]:
        """Returns the body of a request."""
        if self.backend == CHAT_BACKEND:
            asked = {
                "messages": [{"role": "user", "content": sample.prompt}],
                "max_completion_tokens": sample.output_len,
            }
        else:
            asked = {"prompt": sample.prompt, "max_tokens": sample.output_len}
        streaming = {"stream": True, "stream_options": {"include_usage": True}}
        return {"model": self.model, **asked, **streaming, **self.body}


async def send(client: httpx.AsyncClient, target: Target, sample: SampleRequest, request_id: str = "") -> Outcome:
    """Sends a request and times its answer; failures are in the outcome."""
    outcome = Outcome(sample.prompt_len, start_time=time.perf_counter())
    headers = {"x-request-id": request_id} if request_id else {}
    try:
        async with client.stream(
            "POST", target.endpoint, json=target.request_body(sample), headers=headers
        ) as response:
            if response.is_error:
                outcome.error = f"{response.status_code}: {error_message(await response.aread())}"
                return outcome
            await _read(response, outcome)
    except (httpx.HTTPError, ValueError) as error:
        outcome.success, outcome.error = False, str(error) or type(error).__name__
    return outcome


async def _read(response: httpx.Response, outcome: Outcome) -> None:
    last = 0.0
    num_chunks = 0
    async for line in response.aiter_lines():
        now = time.perf_counter()
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == DONE:
            continue
        event = json.loads(data)
        if "error" in event:
            outcome.error = error_message(data.encode())
            return
        text = _new_text(event)
        if text is not None:
            outcome.text += text
            if num_chunks:
                outcome.itl.append(now - last)
            else:
                outcome.ttft = now - outcome.start_time
            num_chunks += 1
            last = now
        outcome.output_tokens = (event.get("usage") or {}).get("completion_tokens", outcome.output_tokens)
    outcome.output_tokens = outcome.output_tokens or num_chunks
    outcome.success = num_chunks > 0
    outcome.latency = max(last - outcome.start_time, 0.0)
    outcome.error = "" if outcome.success else "The answer's stream was empty."


def _new_text(event: Mapping[str, Any]) -> str | None:
    """Returns a chunk's text; None for one that carries no token, such as that of the role or of the usage."""
    if not event.get("choices"):
        return None
    choice = event["choices"][0]
    if "delta" not in choice:
        return choice.get("text") or ""
    delta = choice["delta"] or {}
    text = delta.get("content") or delta.get("reasoning") or delta.get("reasoning_content") or ""
    return None if not text and delta.get("role") else text
