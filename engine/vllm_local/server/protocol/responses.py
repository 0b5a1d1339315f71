"""`/v1/responses`: OpenAI's newer chat, without its memory."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from vllm_local.server.protocol.base import FormFields, Items, ReasoningEffort, RequestBody, SamplingFields, ToolFields


class Reasoning(BaseModel):
    """How much the model is to think."""

    model_config = ConfigDict(extra="allow")

    effort: ReasoningEffort | None = None


class ResponsesRequest(ToolFields, FormFields, SamplingFields, RequestBody):
    """A text or a conversation to be answered."""

    input: str | Items[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = None
    stream: bool | None = None
    store: bool | None = None
    """Accepted for the clients' sake; nothing is stored."""
    previous_response_id: str | None = None
    background: bool | None = None
    truncation: str | None = None
    include: Items[str] | None = None
    top_logprobs: int | None = None
    text: dict[str, Any] | None = None
    reasoning: Reasoning | None = None
    include_reasoning: bool | None = None
    thinking_token_budget: int | None = Field(default=None, ge=0)
    metadata: dict[str, Any] | None = None
    user: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    request_id: str | None = None
    priority: int = 0
    cache_salt: str | None = None
