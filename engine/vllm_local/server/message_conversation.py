"""Anthropic's conversations, tools and wishes in OpenAI's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vllm_local.chat.tools import ToolRequest, read_tool_request
from vllm_local.errors import InvalidRequestError
from vllm_local.server.protocol.base import TemplateFields
from vllm_local.server.protocol.messages import AnthropicMessage, CountTokensRequest

_CHOICES: Mapping[str, str] = {"auto": "auto", "any": "required", "none": "none"}


def as_conversation(request: CountTokensRequest) -> TemplateFields:
    """Returns a conversation: the system prompt, calls, their results and thoughts are where OpenAI has them.

    Raises:
        InvalidRequestError: A block is malformed.
    """
    messages = [item for index, message in enumerate(request.messages) for item in _as_messages(message, index)]
    if request.system:
        messages.insert(0, {"role": "system", "content": request.system})
    kind = (request.thinking or {}).get("type")
    thinking = {"enable_thinking": kind != "disabled"} if kind else None
    # Not checked again: there may be very many.
    return TemplateFields.model_construct(messages=messages, chat_template_kwargs=thinking)


def as_tool_request(request: CountTokensRequest) -> ToolRequest:
    """Returns what a request says of tools.

    Raises:
        InvalidRequestError: It is malformed, or a tool is one that Anthropic itself runs.
    """
    tools = [_as_tool(tool, index) for index, tool in enumerate(request.tools or ())] or None
    choice = request.tool_choice or {}
    kind = choice.get("type")
    if kind == "tool":
        return read_tool_request(tools, {"type": "function", "function": {"name": choice.get("name")}})
    if kind is not None and kind not in _CHOICES:
        message = f"tool_choice.type must be auto, any, tool or none, got {kind!r}."
        raise InvalidRequestError(message, parameter="tool_choice")
    parallel = False if choice.get("disable_parallel_tool_use") else None
    return read_tool_request(tools, None if kind is None else _CHOICES[kind], parallel)


def thinking_token_budget(request: CountTokensRequest) -> int | None:
    """Returns most tokens of thoughts, None for any number.

    Raises:
        InvalidRequestError: `thinking` is malformed.
    """
    thinking = request.thinking or {}
    if thinking and thinking.get("type") not in {"enabled", "disabled", "adaptive"}:
        message = f"thinking.type must be enabled, adaptive or disabled, got {thinking.get('type')!r}."
        raise InvalidRequestError(message, parameter="thinking")
    budget = thinking.get("budget_tokens") if thinking.get("type") == "enabled" else None
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int)):
        message = f"thinking.budget_tokens must be an integer, got {budget!r}."
        raise InvalidRequestError(message, parameter="thinking")
    return budget


def _as_tool(tool: Mapping[str, Any], index: int) -> dict[str, Any]:
    if tool.get("type", "custom") != "custom":
        message = f"tools[{index}] is of type {tool['type']!r}, which only Anthropic runs; use tools of your own."
        raise InvalidRequestError(message, parameter="tools")
    described = {"description": tool["description"]} if tool.get("description") else {}
    function = {"name": tool.get("name"), **described, "parameters": tool.get("input_schema")}
    return {"type": "function", "function": function}


def _as_messages(message: AnthropicMessage, index: int) -> list[dict[str, Any]]:
    """Splits a message: results of calls are messages of their own, before what the user says to them."""
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    kinds = {"tool_use", "tool_result"}
    rest = [block for block in message.content if block.get("type") not in kinds]
    calls = [_as_call(block) for block in message.content if block.get("type") == "tool_use"]
    results = [_as_result(block, index) for block in message.content if block.get("type") == "tool_result"]
    if calls:
        return [*results, {"role": message.role, "content": rest or None, "tool_calls": calls}]
    return [*results, *([{"role": message.role, "content": rest}] if rest or not results else [])]


def _as_call(block: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": block.get("name"), "arguments": block.get("input") or {}}
    return {"id": block.get("id"), "type": "function", "function": function}


def _as_result(block: Mapping[str, Any], index: int) -> dict[str, Any]:
    content = block.get("content")
    if content is not None and not isinstance(content, (str, Sequence)):
        message = f"messages[{index}] has a tool_result whose content is neither text nor a list of blocks."
        raise InvalidRequestError(message, parameter="messages")
    return {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": content or ""}
