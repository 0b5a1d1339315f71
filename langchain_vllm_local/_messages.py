"""Messages of LangChain as the OpenAI-shaped dicts that chat templates read. Pure functions, no engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, convert_to_openai_messages
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from vllm_local.errors import InvalidRequestError

_THOUGHT_BLOCKS = frozenset({"reasoning", "thinking", "redacted_thinking"})
# A v1 message repeats its tool calls as blocks; `AIMessage.tool_calls` has them already.
_TOOL_CALL_BLOCKS = frozenset({"tool_call", "tool_call_chunk", "invalid_tool_call"})


def to_openai_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Converts a conversation for a chat template.

    Names, tool calls and tool messages are kept. Content blocks of every dialect that LangChain knows (v0, v1,
    OpenAI's, Anthropic's) become OpenAI's parts, or one string where all of them are text (joined by newlines, as
    vLLM does). Reasoning of earlier turns moves to the key `reasoning_content`.

    Args:
        messages: The conversation.

    Returns:
        One dict a message: role, content, and name, tool_calls, tool_call_id or reasoning_content where it has them.

    Raises:
        InvalidRequestError: A content block that is of no known kind.
    """
    converted = []
    for index, message in enumerate(messages):
        stripped, reasoning = _without_thoughts(message)
        try:
            dicts = convert_to_openai_messages([stripped], pass_through_unknown_blocks=False)
        except ValueError as error:
            raise InvalidRequestError(_conversion_error(index, error), parameter="messages") from error
        if reasoning:
            dicts[0]["reasoning_content"] = reasoning
        converted.extend(dicts)
    return converted


def _conversion_error(index: int, error: ValueError) -> str:
    # LangChain counts from the one message that it was given, and prints the whole block, images included.
    reason = " ".join(str(error).replace("messages[0]", f"messages[{index}]").split())
    return f"messages[{index}] cannot be converted: {reason[:400]}"


def _without_thoughts(message: BaseMessage) -> tuple[BaseMessage, str]:
    """Splits a message into one that has no reasoning and the reasoning."""
    if not isinstance(message, AIMessage):
        return message, ""
    reasoning = message.additional_kwargs.get("reasoning_content") or ""
    if isinstance(message.content, str):
        return message, str(reasoning)
    drop = _THOUGHT_BLOCKS | _TOOL_CALL_BLOCKS
    kept = [block for block in message.content if _block_type(block) not in drop]
    reasoning = reasoning or "\n".join(filter(None, map(_thought_text, message.content)))
    return message.model_copy(update={"content": kept}), str(reasoning)


def _block_type(block: str | Mapping[str, Any]) -> str | None:
    return "text" if isinstance(block, str) else block.get("type")


def _thought_text(block: str | Mapping[str, Any]) -> str:
    if isinstance(block, str) or block.get("type") not in _THOUGHT_BLOCKS:
        return ""
    return str(block.get("reasoning") or block.get("thinking") or "")


def to_openai_tools(
    tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool] | None, *, strict: bool | None = None
) -> list[dict[str, Any]] | None:
    """Converts tool definitions of every kind that LangChain takes.

    Args:
        tools: Tools, functions, classes or schemas; None and an empty list mean none.
        strict: OpenAI's word; True also closes the arguments' schema.

    Returns:
        OpenAI's `{"type": "function", "function": {...}}` dicts, or None.

    Raises:
        InvalidRequestError: Something that is no tool.
    """
    if not tools:
        return None
    try:
        return [convert_to_openai_tool(tool, strict=strict) for tool in tools]
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"tools cannot be converted: {error}", parameter="tools") from error


def to_openai_tool_choice(choice: Any, tools: Sequence[Mapping[str, Any]] | None) -> str | dict[str, Any] | None:
    """Converts a tool choice of every kind that LangChain's models take.

    Args:
        choice: None or False, "auto", "none", "required" or "any" or True, a tool's name, or a dict in OpenAI's or
            Anthropic's shape.
        tools: The tools, in OpenAI's shape.

    Returns:
        OpenAI's: None, "auto", "none", "required", or a dict.

    Raises:
        InvalidRequestError: It is none of these.
    """
    if choice is None or choice is False:
        return None
    if isinstance(choice, Mapping) and choice.get("type") in ("auto", "none", "any", "tool"):
        choice = choice.get("name") if choice["type"] == "tool" else choice["type"]
    names = [tool["function"].get("name") for tool in tools or () if isinstance(tool.get("function"), Mapping)]
    if isinstance(choice, str) and choice in names:
        return {"type": "function", "function": {"name": choice}}
    if choice is True or choice in ("any", "required"):
        return "required"
    if isinstance(choice, Mapping):
        return dict(choice)
    if choice in ("auto", "none"):
        return str(choice)
    known = ", ".join(repr(name) for name in names) or "none"
    message = f"tool_choice={choice!r} is neither 'auto', 'none', 'any' nor a tool's name; the tools are: {known}."
    raise InvalidRequestError(message, parameter="tool_choice")
