"""`/v1/messages`: Anthropic's chat."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from vllm_local.server.protocol.base import Items, RequestBody


class AnthropicMessage(BaseModel):
    """One message; its content is a text or a list of blocks."""

    role: Literal["user", "assistant", "system"]
    content: str | Items[dict[str, Any]]


class CountTokensRequest(RequestBody):
    """A conversation whose length is wanted."""

    messages: Items[AnthropicMessage]
    system: str | Items[dict[str, Any]] | None = None
    tools: Items[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None


class MessagesRequest(CountTokensRequest):
    """A conversation to be continued."""

    max_tokens: int
    stop_sequences: Items[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    """Its `format` says what the answer must look like."""
    output_format: dict[str, Any] | None = None
    """The older place for it."""
