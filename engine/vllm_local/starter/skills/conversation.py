"""A conversation with what the chat template is told besides the messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_local.starter.skills.messages import Message


@dataclass(frozen=True)
class Conversation:
    """Messages, the tools that the model is told of, and whether it thinks before its last answer.

    Attributes:
        messages: Messages in OpenAI's shape; in training data the last one is the assistant's.
        tools: Tools in OpenAI's shape.
        thinking: Render the last answer's ``reasoning_content`` (the template's ``enable_thinking``).
    """

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] = ()
    thinking: bool = False
