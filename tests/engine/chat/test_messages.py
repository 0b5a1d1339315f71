import pytest

from vllm_local.chat.messages import as_parts, as_text, normalize_messages
from vllm_local.errors import InvalidRequestError, UnsupportedInputError

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def user(content):
    return {"role": "user", "content": content}


def test_plain_messages_stay_as_they_are():
    messages = [{"role": "system", "content": "Be brief."}, {**user("Hi"), "name": "ann"}]
    assert normalize_messages(messages) == messages


def test_the_caller_s_messages_are_not_touched():
    message = {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None}
    before = repr(message)
    normalize_messages([message])
    assert repr(message) == before


def test_none_values_are_dropped():
    assert normalize_messages([{**user("Hi"), "name": None, "tool_calls": None}]) == [user("Hi")]


def test_text_parts_come_in_one_form():
    parts = [
        {"type": "text", "text": "a"},
        "b",
        {"text": "c"},
        {"type": "input_text", "text": "d"},
        {"type": "refusal", "refusal": "e"},
        {"type": "thinking", "thinking": "secret"},
    ]
    (message,) = normalize_messages([user(parts)])
    assert message["content"] == [{"type": "text", "text": letter} for letter in "abcde"]


def test_arguments_of_tool_calls_become_objects():
    messages = [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "1", "tool_call_id": "c1"}]
    assistant, tool = normalize_messages(messages)
    assert assistant["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    assert assistant["content"] == ""
    assert tool == messages[1]


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([], "Cannot apply chat template to an empty conversation. Provide at least one message."),
        ("Hi", "messages must be a list of messages, got str"),
        ({"role": "user", "content": "Hi"}, "got dict"),
        (["Hi"], r"messages\[0\] must be a dict with a role, got str"),
        ([user("Hi"), {"role": "robot", "content": "x"}], r"messages\[1\] has the unknown role 'robot'; use system"),
        ([{"content": "x"}], r"messages\[0\] has the unknown role None"),
        ([user(None)], r"messages\[0\] has no content"),
        ([{"role": "assistant"}], "only an assistant's message with tool calls"),
        ([user(3)], r"messages\[0\] has a content that is neither text nor a list of parts, but int"),
        ([user([3])], r"messages\[0\]\.content\[0\] must be a text or a dict"),
        ([user([{"type": "text"}])], r"content\[0\] is of type 'text' without a text"),
        ([user([{"type": "poem", "text": "x"}])], "is of type 'poem'"),
        ([{"role": "assistant", "tool_calls": "x"}], "tool_calls that are no list"),
        ([{"role": "assistant", "tool_calls": [{"id": "c"}]}], r"tool_calls\[0\] has no function with a name"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
            "arguments that are no JSON",
        ),
    ],
)
def test_malformed_messages(messages, match):
    with pytest.raises(InvalidRequestError, match=match) as caught:
        normalize_messages(messages)
    assert caught.value.parameter == "messages"


@pytest.mark.parametrize("kind", ["image_url", "input_image", "input_audio", "video_url", "file", "image"])
def test_other_media_than_text(kind):
    with pytest.raises(UnsupportedInputError, match=f"content.1. is of type '{kind}', but this is not a multimodal"):
        normalize_messages([user([{"type": "text", "text": "What is this?"}, {"type": kind, kind: {"url": "x"}}])])


def test_contents_change_their_form():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert as_text(parts) == "a\nb"
    assert as_text("a") == "a"
    assert as_parts("a") == parts[:1]
    assert as_parts(parts) == parts


@pytest.mark.parametrize(
    "thoughts",
    [
        {"reasoning": "Hm."},
        {"reasoning_content": "Hm."},
        {"thinking": "Hm."},
        {"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hello!"}]},
        {"content": [{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "Hello!"}]},
    ],
)
def test_thoughts_go_by_the_names_that_templates_know(thoughts):
    (message,) = normalize_messages([{"role": "assistant", "content": "Hello!", **thoughts}])
    assert (message["reasoning"], message["reasoning_content"]) == ("Hm.", "Hm.")
    assert as_text(message["content"]) == "Hello!"
    (other,) = normalize_messages([{"role": "user", "content": "Hello!", **thoughts}])
    assert "reasoning_content" not in other or other["reasoning_content"] == thoughts.get("reasoning_content")
