"""What the Responses API is given, in the words of chat completions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vllm_local.chat.tools import ToolRequest, read_tool_request
from vllm_local.errors import InvalidRequestError
from vllm_local.server.protocol.base import TemplateFields
from vllm_local.server.protocol.responses import ResponsesRequest


def as_conversation(request: ResponsesRequest) -> TemplateFields:
    """Returns the input as chat messages; instructions come first, calls and thoughts go to the assistant's message.

    Raises:
        InvalidRequestError: An item is of a kind that there is not.
    """
    messages: list[dict[str, Any]] = []
    if request.instructions:
        messages.append({"role": "system", "content": request.instructions})
    if isinstance(request.input, str):
        messages.append({"role": "user", "content": request.input})
    else:
        messages += _as_messages(request.input)
    return TemplateFields(
        messages=messages,
        chat_template_kwargs=request.chat_template_kwargs,
        reasoning_effort=request.reasoning.effort if request.reasoning else None,
    )


def as_tool_request(request: ResponsesRequest) -> ToolRequest:
    """Returns what a request says of tools, which this API does not nest.

    Raises:
        InvalidRequestError: It is malformed, or a tool is one that OpenAI itself runs.
    """
    tools = [_as_tool(tool) for tool in request.tools or ()]
    return read_tool_request(tools or None, request.tool_choice, request.parallel_tool_calls)


def _as_tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    if tool.get("type") != "function" or "function" in tool:
        return tool
    return {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}


def _as_messages(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Joins the items of one turn of the assistant's: thoughts, text and calls are one message."""
    messages: list[dict[str, Any]] = []
    thoughts = ""
    for index, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "reasoning":
            thoughts = "\n".join(text for text in (thoughts, _thoughts(item)) if text)
        elif kind == "message":
            thought = {"reasoning_content": thoughts} if item.get("role") == "assistant" and thoughts else {}
            messages.append({"role": item.get("role"), "content": item.get("content"), **thought})
            thoughts = ""
        elif kind == "function_call":
            _add_call(messages, item, thoughts)
            thoughts = ""
        elif kind == "function_call_output":
            output = item.get("output")
            content = output if isinstance(output, (str, list)) else json.dumps(output)
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
        else:
            message = f"input[{index}] of type {kind!r} is not supported; messages, calls and their outputs are."
            raise InvalidRequestError(message, parameter="input")
    return messages


def _add_call(messages: list[dict[str, Any]], item: Mapping[str, Any], thoughts: str) -> None:
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    call = {"id": item.get("call_id"), "type": "function", "function": function}
    last = messages[-1] if messages else {}
    if last.get("role") == "assistant" and not thoughts:
        last.setdefault("tool_calls", []).append(call)
        return
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    messages.append({**message, "reasoning_content": thoughts} if thoughts else message)


def _thoughts(item: Mapping[str, Any]) -> str:
    parts = item.get("content") or item.get("summary")
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    return "\n".join(text for text in texts if isinstance(text, str))
