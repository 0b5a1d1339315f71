import pytest

from vllm_local.errors import InvalidRequestError
from vllm_local.server.message_conversation import as_conversation, as_tool_request, thinking_token_budget
from vllm_local.server.protocol.messages import CountTokensRequest

TOOL = {"name": "add", "description": "Adds.", "input_schema": {"type": "object", "properties": {"a": {}}}}
HI = {"role": "user", "content": "Hi"}


def read(**fields):
    return CountTokensRequest(**{"messages": [HI], **fields})


def test_blocks_are_where_openai_has_them():
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    text = {"type": "text", "text": "Let me see."}
    call = {"type": "tool_use", "id": "x", "name": "add", "input": {"a": 1}}
    results = [
        {"type": "tool_result", "tool_use_id": "x", "content": "7"},
        {"type": "tool_result", "tool_use_id": "y", "content": [{"type": "text", "text": "8"}]},
        {"type": "tool_result", "tool_use_id": "z"},
    ]
    messages = [
        HI,
        {"role": "assistant", "content": [thinking, text, call]},
        {"role": "user", "content": [*results, {"type": "text", "text": "And?"}]},
        {"role": "user", "content": results[:1]},
    ]
    assert as_conversation(read(messages=messages, system="Be brief.")).messages == [
        {"role": "system", "content": "Be brief."},
        HI,
        {
            "role": "assistant",
            "content": [thinking, text],
            "tool_calls": [{"id": "x", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "tool_call_id": "x", "content": "7"},
        {"role": "tool", "tool_call_id": "y", "content": [{"type": "text", "text": "8"}]},
        {"role": "tool", "tool_call_id": "z", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "And?"}]},
        {"role": "tool", "tool_call_id": "x", "content": "7"},
    ]


@pytest.mark.parametrize(
    ("thinking", "enabled", "budget"),
    [
        (None, None, None),
        ({"type": "disabled"}, False, None),
        ({"type": "adaptive"}, True, None),
        ({"type": "enabled", "budget_tokens": 1024}, True, 1024),
    ],
)
def test_thinking(thinking, enabled, budget):
    request = read(thinking=thinking)
    kwargs = as_conversation(request).chat_template_kwargs
    assert kwargs == (None if enabled is None else {"enable_thinking": enabled})
    assert thinking_token_budget(request) == budget


@pytest.mark.parametrize(
    ("choice", "mode", "is_named", "parallel"),
    [
        (None, "auto", False, True),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto", False, False),
        ({"type": "any"}, "required", False, True),
        ({"type": "none"}, "none", False, True),
        ({"type": "tool", "name": "add"}, "required", True, True),
    ],
)
def test_tools(choice, mode, is_named, parallel):
    tools = as_tool_request(read(tools=[TOOL], tool_choice=choice))
    (tool,) = tools.tools
    assert (tool.name, tool.description, tool.parameters) == ("add", "Adds.", TOOL["input_schema"])
    assert (tools.choice.mode, tools.choice.is_named, tools.parallel) == (mode, is_named, parallel)


def test_a_tool_that_there_is_not():
    with pytest.raises(InvalidRequestError, match="'sub'"):
        as_tool_request(read(tools=[TOOL], tool_choice={"type": "tool", "name": "sub"}))
