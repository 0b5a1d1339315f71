"""`/v1/chat/completions`."""

from __future__ import annotations

from vllm_local.server.protocol.base import DeliveryFields, LogprobFields, RequestBody, SamplingFields, TemplateFields


class ChatCompletionRequest(TemplateFields, SamplingFields, LogprobFields, DeliveryFields, RequestBody):
    """A conversation to be continued."""

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    """The newer name of `max_tokens`; it wins."""
    logprobs: bool | None = None
    top_logprobs: int | None = None
    echo: bool = False
    """Begin the answer with the last message, if that is the assistant's."""
