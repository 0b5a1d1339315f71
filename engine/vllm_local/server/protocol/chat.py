"""`/v1/chat/completions`."""

from __future__ import annotations

from pydantic import Field

from vllm_local.server.protocol.base import (
    DeliveryFields,
    FormFields,
    LogprobFields,
    RequestBody,
    SamplingFields,
    TemplateFields,
    ToolFields,
)


class ChatCompletionRequest(
    TemplateFields, ToolFields, FormFields, SamplingFields, LogprobFields, DeliveryFields, RequestBody
):
    """A conversation to be continued."""

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    """The newer name of `max_tokens`; it wins."""
    logprobs: bool | None = None
    top_logprobs: int | None = None
    echo: bool = False
    """Begin the answer with the last message, if that is the assistant's."""
    include_reasoning: bool | None = None
    """Show what the model thought; it does by default."""
    thinking_token_budget: int | None = Field(default=None, ge=0)
    """Most tokens of its thoughts."""
