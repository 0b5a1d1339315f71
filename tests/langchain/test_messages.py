from typing import Any

import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_vllm_local._messages import to_openai_messages, to_openai_tools
from vllm_local.errors import InvalidRequestError

CALL = {"name": "add", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
OPENAI_CALL = {"type": "function", "id": "c1", "function": {"name": "add", "arguments": '{"a": 1}'}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (SystemMessage("s"), {"role": "system", "content": "s"}),
        (HumanMessage("h", name="ann"), {"role": "user", "content": "h", "name": "ann"}),
        (AIMessage("a"), {"role": "assistant", "content": "a"}),
        (AIMessage("", tool_calls=[CALL]), {"role": "assistant", "content": "", "tool_calls": [OPENAI_CALL]}),
        (ToolMessage("3", tool_call_id="c1"), {"role": "tool", "content": "3", "tool_call_id": "c1"}),
        (
            ToolMessage("bad", tool_call_id="c1", name="add", status="error"),
            {"role": "tool", "content": "bad", "tool_call_id": "c1", "name": "add"},
        ),
        (ChatMessage(content="x", role="critic"), {"role": "critic", "content": "x"}),
    ],
)
def test_roles(message, expected):
    assert to_openai_messages([message]) == [expected]


@pytest.mark.parametrize(
    "content",
    [
        ["a", "b"],
        [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        ["a", {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}],
    ],
)
def test_text_blocks_become_one_string(content):
    assert to_openai_messages([HumanMessage(content)]) == [{"role": "user", "content": "a\nb"}]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "image", "source_type": "base64", "data": "AA==", "mime_type": "image/png"},
        {"type": "image", "base64": "AA==", "mime_type": "image/png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
    ],
    ids=["openai", "v0", "v1", "anthropic"],
)
def test_images_of_every_dialect_become_openais(block):
    (message,) = to_openai_messages([HumanMessage([{"type": "text", "text": "what?"}, block])])
    assert message["content"] == [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]


def test_v1_messages_of_our_own_come_back_as_they_were():
    blocks: Any = [{"type": "text", "text": "hi"}, CALL]
    message = AIMessage(content_blocks=blocks)
    assert to_openai_messages([message]) == [{"role": "assistant", "content": "hi", "tool_calls": [OPENAI_CALL]}]


@pytest.mark.parametrize(
    "message",
    [
        AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "hi"}]),
        AIMessage([{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "hi"}]),
        AIMessage("hi", additional_kwargs={"reasoning_content": "hm"}),
        AIMessage([{"type": "text", "text": "hi"}], additional_kwargs={"reasoning_content": "hm"}),
        AIMessage([{"type": "redacted_thinking", "data": "x"}, {"type": "reasoning", "reasoning": "hm"}, "hi"]),
    ],
    ids=["v1", "anthropic", "deepseek", "deepseek with blocks", "redacted"],
)
def test_reasoning_leaves_the_content(message):
    assert to_openai_messages([message]) == [{"role": "assistant", "content": "hi", "reasoning_content": "hm"}]


def test_anthropic_histories():
    messages = [
        AIMessage(
            [{"type": "text", "text": "ok"}, {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}],
            tool_calls=[CALL],
        ),
        HumanMessage([{"type": "tool_result", "tool_use_id": "c1", "content": "2"}]),
    ]
    assert to_openai_messages(messages) == [
        {"role": "assistant", "content": "ok", "tool_calls": [OPENAI_CALL]},
        {"role": "tool", "content": "2", "tool_call_id": "c1"},
    ]


def test_the_callers_messages_are_left_alone():
    message = AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "hi"}])
    before = message.model_copy(deep=True)
    to_openai_messages([message])
    assert message == before


def test_unknown_blocks_are_named_with_their_place():
    with pytest.raises(InvalidRequestError, match=r"messages\[1\].*hologram"):
        to_openai_messages([HumanMessage("a"), HumanMessage([{"type": "hologram"}])])


def test_tools():
    assert to_openai_tools(None) is None
    assert to_openai_tools([]) is None
    schema = {"title": "add", "description": "Adds.", "type": "object", "properties": {"a": {"type": "integer"}}}
    (tool,) = to_openai_tools([schema]) or []
    assert tool["type"] == "function"
    assert tool["function"]["parameters"]["properties"] == {"a": {"type": "integer"}}
