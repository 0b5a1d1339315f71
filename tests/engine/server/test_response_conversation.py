import pytest

from vllm_local.errors import InvalidRequestError
from vllm_local.server.protocol.responses import ResponsesRequest
from vllm_local.server.response_conversation import as_conversation, as_tool_request

CALL = {"type": "function_call", "call_id": "x", "name": "add", "arguments": '{"a": 1}'}
TOOL_CALL = {"id": "x", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
THOUGHTS = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
HI = {"role": "user", "content": "Hi"}


def test_a_turn_of_the_assistant_s_is_one_message():
    items = [
        HI,
        THOUGHTS,
        {"type": "message", "role": "assistant", "content": "Let me see."},
        CALL,
        {**CALL, "call_id": "y"},
        {"type": "function_call_output", "call_id": "x", "output": "7"},
        {"type": "function_call_output", "call_id": "y", "output": {"sum": 8}},
        THOUGHTS,
        CALL,
    ]
    assert as_conversation(ResponsesRequest(input=items, instructions="Be brief.")).messages == [
        {"role": "system", "content": "Be brief."},
        HI,
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "Hm.",
            "tool_calls": [TOOL_CALL, {**TOOL_CALL, "id": "y"}],
        },
        {"role": "tool", "tool_call_id": "x", "content": "7"},
        {"role": "tool", "tool_call_id": "y", "content": '{"sum": 8}'},
        {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL], "reasoning_content": "Hm."},
    ]


def test_other_items_are_refused_by_name():
    with pytest.raises(InvalidRequestError, match=r"input\[1\] of type 'item_reference'"):
        as_conversation(ResponsesRequest(input=[HI, {"type": "item_reference", "id": "msg_1"}]))


def test_tools_are_not_nested():
    function = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": True}
    tools = as_tool_request(
        ResponsesRequest(input="Hi", tools=[function], tool_choice={"type": "function", "name": "add"})
    )
    assert tools.tools[0].definition["function"]["name"] == "add"
    assert tools.choice.is_named
    with pytest.raises(InvalidRequestError, match="only tools of the type 'function'"):
        as_tool_request(ResponsesRequest(input="Hi", tools=[{"type": "web_search"}]))
