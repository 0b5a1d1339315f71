"""What a request says about the shape of its answer, and the settings about all answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import vllm_local
from vllm_local.server.protocol.base import DeliveryFields
from vllm_local.server.settings import ServerSettings

SYSTEM_FINGERPRINT = f"vllm-local-{vllm_local.__version__}"


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """How one request's answer looks.

    Attributes:
        answer_id: Its `id`.
        model: The model's name, as the request used it.
        n: Answers to each prompt.
        created: Seconds since 1970.
        role: Who speaks.
        top_logprobs: Alternatives listed beside each token.
        as_token_ids: Spell tokens in log-probabilities "token_id:42".
        return_token_ids: Show token ids of prompt and answer.
        return_prompt_text: Show the prompt as the model reads it.
        include_usage: End a stream with the usage.
        continuous_usage: Show the usage so far on each chunk.
        interval: Tokens that a chunk has at least.
    """

    answer_id: str
    model: str
    n: int
    created: int
    role: str
    top_logprobs: int
    as_token_ids: bool
    return_token_ids: bool
    return_prompt_text: bool
    include_usage: bool
    continuous_usage: bool
    interval: int

    def head(self, kind: str) -> dict[str, Any]:
        """Returns what every answer and every chunk begins with."""
        return {"id": self.answer_id, "object": kind, "created": self.created, "model": self.model}


def answer_options(
    request: DeliveryFields, settings: ServerSettings, *, answer_id: str, model: str, n: int, top_logprobs: int = 0
) -> AnswerOptions:
    """Returns the options of a request."""
    stream_options = request.stream_options
    include_usage = settings.enable_force_include_usage or bool(stream_options and stream_options.include_usage)
    continuous = settings.enable_force_include_usage or bool(stream_options and stream_options.continuous_usage_stats)
    return AnswerOptions(
        answer_id=answer_id,
        model=model,
        n=n,
        created=int(time.time()),
        role=settings.response_role,
        top_logprobs=top_logprobs,
        as_token_ids=bool(request.return_tokens_as_token_ids or settings.return_tokens_as_token_ids),
        return_token_ids=bool(request.return_token_ids),
        return_prompt_text=bool(request.return_prompt_text),
        include_usage=include_usage,
        continuous_usage=include_usage and continuous,
        interval=request.stream_interval or settings.stream_interval,
    )
