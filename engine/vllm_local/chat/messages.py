"""Messages in OpenAI's shape, checked and brought to one form before a template sees them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from vllm_local.errors import InvalidRequestError, UnsupportedInputError

Message: TypeAlias = dict[str, Any]
"""A message whose "content" is a text or a list of {"type": "text", "text": …}, or absent."""

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

_TEXT_KEYS: Mapping[str, str] = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Kinds of parts that are text, and where they keep it."""
_SILENT_KINDS = ("thinking", "reasoning", "redacted_thinking")
"""What a model thought earlier; templates take it as the message's "reasoning_content" or "reasoning", if at all."""
_MEDIA = ("image", "audio", "video", "file", "media")


def normalize_messages(messages: object) -> list[Message]:
    """Returns checked copies: None values dropped, text parts in one form, tool call arguments as objects.

    Args:
        messages: As OpenAI's chat completions take them.

    Raises:
        InvalidRequestError: There are none, or one is malformed; the message says which.
        UnsupportedInputError: One has an image or another part that is no text.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence):
        raise InvalidRequestError(
            f"messages must be a list of messages, got {type(messages).__name__}.", parameter="messages"
        )
    if not messages:
        message = "Cannot apply chat template to an empty conversation. Provide at least one message."
        raise InvalidRequestError(message, parameter="messages")
    return [_normalize(message, index) for index, message in enumerate(messages)]


def as_text(content: str | list[Message]) -> str:
    """Returns a content as one text, its parts joined by newlines, as vLLM does."""
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def as_parts(content: str | list[Message]) -> list[Message]:
    """Returns a content as a list of text parts."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _normalize(message: object, index: int) -> Message:
    where = f"messages[{index}]"
    if not isinstance(message, Mapping):
        _refuse(where, f"must be a dict with a role, got {type(message).__name__}")
    role = message.get("role")
    if role not in ROLES:
        _refuse(where, f"has the unknown role {role!r}; use {', '.join(ROLES)}")
    normal = {key: value for key, value in message.items() if value is not None}
    if "tool_calls" in normal:
        normal["tool_calls"] = _normalize_tool_calls(normal["tool_calls"], where)
    content = _normalize_content(message.get("content"), where)
    if content is None:
        if role != "assistant" or not (normal.get("tool_calls") or "function_call" in normal):
            _refuse(where, f"has no content; only an assistant's message with tool calls may lack it, not a {role}'s")
        # Templates test for it; an absent key and an empty text read alike.
        content = ""
    normal["content"] = content
    thoughts = _thoughts_of(message) if role == "assistant" else ""
    if thoughts:
        normal |= {"reasoning": thoughts, "reasoning_content": thoughts}
    return normal


def _thoughts_of(message: Mapping[str, Any]) -> str:
    """Returns what an assistant thought before it spoke, by any of the names that it goes by."""
    for name in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(message.get(name), str):
            return str(message[name])
    content = message.get("content")
    parts = content if isinstance(content, (list, tuple)) else ()
    silent = [part for part in parts if isinstance(part, Mapping) and part.get("type") in _SILENT_KINDS]
    texts = [part.get(name) for part in silent for name in ("thinking", "reasoning", "text")]
    return "\n".join(text for text in texts if isinstance(text, str))


def _normalize_content(content: object, where: str) -> str | list[Message] | None:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        _refuse(where, f"has a content that is neither text nor a list of parts, but {type(content).__name__}")
    parts = [_text_of_part(part, f"{where}.content[{index}]") for index, part in enumerate(content)]
    return [{"type": "text", "text": text} for text in parts if text is not None]


def _text_of_part(part: object, where: str) -> str | None:
    """Returns a part's text; None where it has none to show."""
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        _refuse(where, f"must be a text or a dict with a type, got {type(part).__name__}")
    kind = str(part.get("type", "text" if "text" in part else None))
    if kind in _SILENT_KINDS:
        return None
    if any(word in kind for word in _MEDIA):
        message = f"{where} is of type {kind!r}, but this is not a multimodal model; it takes text only."
        raise UnsupportedInputError(message, parameter="messages")
    text = part.get(_TEXT_KEYS[kind]) if kind in _TEXT_KEYS else None
    if not isinstance(text, str):
        _refuse(where, f"is of type {kind!r} without a text; use {{'type': 'text', 'text': …}}")
    return text


def _normalize_tool_calls(calls: object, where: str) -> list[dict[str, Any]]:
    if not isinstance(calls, (list, tuple)) or not all(isinstance(call, Mapping) for call in calls):
        _refuse(where, "has tool_calls that are no list of dicts")
    return [_normalize_tool_call(call, f"{where}.tool_calls[{index}]") for index, call in enumerate(calls)]


def _normalize_tool_call(call: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Parses the arguments, which templates print as JSON themselves."""
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        _refuse(where, "has no function with a name")
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            message = f"{where} has arguments that are no JSON ({error}): {arguments[:200]!r}."
            raise InvalidRequestError(message, parameter="messages") from error
    return {**call, "function": {**function, "arguments": arguments}}


def _refuse(where: str, rule: str) -> NoReturn:
    raise InvalidRequestError(f"{where} {rule}.", parameter="messages")
