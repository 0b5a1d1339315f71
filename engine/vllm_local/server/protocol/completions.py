"""`/v1/completions`."""

from __future__ import annotations

from vllm_local.server.protocol.base import (
    DeliveryFields,
    FormFields,
    Items,
    LogprobFields,
    RequestBody,
    SamplingFields,
)


class CompletionRequest(FormFields, SamplingFields, LogprobFields, DeliveryFields, RequestBody):
    """Prompts to be continued."""

    prompt: str | Items[str] | Items[int] | Items[Items[int]] | None = None
    max_tokens: int | None = 16
    logprobs: int | None = None
    echo: bool = False
    """Begin the answer with the prompt."""
    add_special_tokens: bool = True
    """Put around a text prompt what the model expects around one, such as a first BOS."""
