"""`/tokenize` and `/detokenize`."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from vllm_local.server.protocol.base import Items, RequestBody, TemplateFields


class TokenizeRequest(TemplateFields, RequestBody):
    """A text, or a conversation, whose tokens are wanted."""

    prompt: str | None = None
    messages: Items[dict[str, Any]] = Field(default_factory=list)
    tools: Items[dict[str, Any]] | None = None
    return_token_strs: bool = False


class DetokenizeRequest(RequestBody):
    """Tokens whose text is wanted."""

    tokens: Items[int]
