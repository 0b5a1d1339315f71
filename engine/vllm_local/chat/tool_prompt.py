"""Conversations with tools for templates that know none: in words, as Hermes's template would put them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from vllm_local.chat.messages import Message, as_text
from vllm_local.chat.tool_formats.hermes import CLOSER, OPENER
from vllm_local.chat.tools import Tool

_SYSTEM_ROLES = ("system", "developer")
_RESULT_ROLES = ("tool", "function")


def describe_tools(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """Returns a conversation that tells of its tools by itself.

    The system prompt says what tools there are and how to call them, calls are part of the assistant's text, and what
    they gave is said by the user.

    Args:
        messages: Normalized ones.
        tools: None of them if calls are only looked back on.
    """
    told = [_tell(message) for message in messages]
    if not tools:
        return told
    description = _describe(tools)
    if told[0]["role"] in _SYSTEM_ROLES:
        return [{**told[0], "content": f"{as_text(told[0]['content'])}\n\n{description}"}, *told[1:]]
    return [{"role": "system", "content": description}, *told]


def _describe(tools: Iterable[Tool]) -> str:
    lines = [json.dumps(_function(tool), ensure_ascii=False) for tool in tools]
    call = '{"name": <function-name>, "arguments": <args-json-object>}'
    how = f"For each call, return a JSON object within {OPENER}{CLOSER} tags:\n{OPENER}\n{call}\n{CLOSER}"
    return "\n".join(["# Tools\n\nYou may call these functions:\n<tools>", *lines, f"</tools>\n\n{how}"])


def _function(tool: Tool) -> dict[str, Any]:
    description = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **description, "parameters": tool.parameters}


def _tell(message: Message) -> Message:
    """Puts a message's calls, or a call's result, into words."""
    if message["role"] in _RESULT_ROLES:
        return {"role": "user", "content": f"<tool_response>\n{as_text(message['content'])}\n</tool_response>"}
    if not message.get("tool_calls"):
        return message
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    calls = [_call(call["function"]) for call in message["tool_calls"]]
    said = as_text(message["content"])
    return {**rest, "content": "\n".join([*([said] if said else []), *calls])}


def _call(function: Message) -> str:
    call = {"name": function["name"], "arguments": function["arguments"]}
    return f"{OPENER}\n{json.dumps(call, ensure_ascii=False)}\n{CLOSER}"
