import json
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.engine.chat import templates
from tests.engine.tokenizer import samples
from vllm_local.chat.renderer import ChatRenderer
from vllm_local.errors import (
    ChatTemplateError,
    InvalidConfigError,
    InvalidRequestError,
    UnsupportedInputError,
    VLLMLocalError,
)
from vllm_local.tokenizer.tokenizer import Tokenizer

SYSTEM: dict[str, Any] = {"role": "system", "content": "Be brief."}
HI: dict[str, Any] = {"role": "user", "content": "Hi"}
HELLO: dict[str, Any] = {"role": "assistant", "content": "Hello!"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def chatml(make_tokenizer):
    return ChatRenderer(make_tokenizer(templates.CHATML))


@pytest.fixture(scope="module")
def gemma(make_tokenizer):
    return ChatRenderer(make_tokenizer(templates.GEMMA, kind="llama2_bpe"))


@pytest.mark.parametrize("kwargs", [{}, {"add_generation_prompt": False}, {"enable_thinking": False}])
@pytest.mark.parametrize("tools", [None, [TOOL]])
@pytest.mark.parametrize("kind", ["byte_level_bpe", "llama2_bpe"])
def test_same_prompt_as_transformers(tmp_path, kind, tools, kwargs):
    template = "{{ bos_token }}" + templates.CHATML
    folder = samples.save(samples.KINDS[kind](), tmp_path, chat_template=template)
    tokenizer = Tokenizer.from_path(folder)
    theirs, ours = AutoTokenizer.from_pretrained(str(folder)), ChatRenderer(tokenizer)
    messages = [SYSTEM, HI, HELLO, {"role": "user", "content": "  Grüße, 東京 👋  "}]
    arguments = {"add_generation_prompt": True, **kwargs}
    expected = theirs.apply_chat_template(messages, tools=tools, tokenize=False, **arguments)
    assert ours.render(messages, tools, **kwargs) == expected
    expected_ids = theirs.apply_chat_template(messages, tools=tools, return_dict=False, **arguments)
    token_ids = tokenizer.encode(ours.render(messages, tools, **kwargs), add_special_tokens=False)
    assert token_ids == expected_ids
    assert token_ids.count(theirs.bos_token_id) == 1


def test_a_template_without_system_role_gets_it_in_the_user_s_message(gemma):
    assert gemma.render([SYSTEM, HI]) == "<s>[user]Be brief.\n\nHi[model]"


def test_a_template_that_demands_alternation_gets_merged_messages(gemma):
    assert gemma.render([HI, HI, HELLO, HELLO, HI]) == "<s>[user]Hi\n\nHi[assistant]Hello!\n\nHello![user]Hi[model]"


def test_a_conversation_that_can_be_said_is_said_as_it_stands(chatml):
    assert chatml.render([HI, HI]).count("<|im_start|>user") == 2


def test_if_nothing_helps_the_first_error_is_raised(gemma):
    with pytest.raises(ChatTemplateError, match="System role not supported"):
        gemma.render([SYSTEM, HELLO, HI, HELLO, {"role": "tool", "content": "1"}])


def test_tools_choose_their_own_template(make_tokenizer):
    named = [
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "{{ (tools or []) | length }} tools"},
    ]
    renderer = ChatRenderer(make_tokenizer(named))
    assert renderer.render([HI]) == "plain"
    assert renderer.render([HI], [TOOL]) == "1 tools"
    assert renderer.render([HI], []) == "plain"
    assert renderer.with_template("tool_use").render([HI]) == "0 tools"


def test_only_named_templates(make_tokenizer):
    renderer = ChatRenderer(make_tokenizer([{"name": "rag", "template": "rag"}]))
    with pytest.raises(ChatTemplateError, match="but rag; name one"):
        renderer.render([HI])
    assert renderer.with_template("rag").render([HI]) == "rag"


def test_another_template(chatml, tmp_path):
    path = tmp_path / "own.jinja"
    path.write_text("{{ messages | length }}", encoding="utf-8")
    assert chatml.with_template(str(path)).render([HI, HELLO, HI]) == "3"
    assert chatml.with_template("{{ 7 }}").render([HI]) == "7"
    assert chatml.with_template(None) is chatml
    with pytest.raises(InvalidConfigError):
        chatml.with_template("absent.jinja")


PARTS_OR_TEXT = "{% for m in messages %}{{ 'text' if m.content is string else 'parts' }}{{ m.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("content_format", "shown"),
    [("auto", "textHi"), ("string", "textHi"), ("openai", "parts[{'type': 'text', 'text': 'Hi'}]")],
)
@pytest.mark.parametrize("content", ["Hi", [{"type": "text", "text": "Hi"}]])
def test_contents_are_shown_as_asked(make_tokenizer, content_format, shown, content):
    for renderer in (ChatRenderer(make_tokenizer(None)), ChatRenderer(make_tokenizer(None), PARTS_OR_TEXT)):
        named = renderer.with_template(PARTS_OR_TEXT, content_format=content_format)
        assert named.render([{"role": "user", "content": content}]) == shown
    kept = ChatRenderer(make_tokenizer(None), PARTS_OR_TEXT).with_template(None, content_format=content_format)
    assert kept.render([{"role": "user", "content": content}]) == shown


def test_the_engine_s_template_replaces_the_model_s(make_tokenizer):
    assert ChatRenderer(make_tokenizer(templates.CHATML), "own {{ 1 }}").render([HI]) == "own 1"


def test_the_fallback_is_a_transcript(make_tokenizer):
    renderer = ChatRenderer(make_tokenizer())
    assert renderer.is_fallback
    messages = [SYSTEM, HI, HELLO, {"role": "user", "content": [{"type": "text", "text": "Bye"}]}]
    prompt = "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello!\n\nUser: Bye"
    assert renderer.render(messages) == prompt + "\n\nAssistant:"
    assert renderer.render(messages, add_generation_prompt=False) == prompt
    begun = [HI, {"role": "assistant", "content": "Well,"}]
    shown = renderer.render(begun, add_generation_prompt=False, continue_final_message=True)
    assert shown == "User: Hi\n\nAssistant: Well,"


def test_the_fallback_begins_as_a_plain_prompt_does(make_tokenizer):
    tokenizer = make_tokenizer(kind="llama2_bpe")
    token_ids = tokenizer.encode(ChatRenderer(tokenizer).render([HI]), add_special_tokens=False)
    assert token_ids == tokenizer.encode("User: Hi\n\nAssistant:")
    assert token_ids[0] == tokenizer.bos_token_id


def test_the_fallback_knows_no_tools(make_tokenizer):
    with pytest.raises(UnsupportedInputError, match="no chat template"):
        ChatRenderer(make_tokenizer()).render([HI], [TOOL])


def test_newer_roles_get_their_older_names(chatml, make_tokenizer):
    assert "<|im_start|>system\nBe brief." in chatml.render([{**SYSTEM, "role": "developer"}, HI])
    assert "<|im_start|>tool\n1<" in chatml.render([HI, {"role": "function", "name": "f", "content": "1"}])
    knows = ChatRenderer(make_tokenizer("{# developer #}{{ messages[0].role }}"))
    assert knows.render([{**SYSTEM, "role": "developer"}]) == "developer"


def test_both_ways_to_end_at_once(chatml):
    with pytest.raises(InvalidRequestError, match="Cannot set both"):
        chatml.render([HI, HELLO], continue_final_message=True)


@pytest.mark.parametrize("messages", [[], [{"role": "robot", "content": "x"}], "Hi"])
def test_bad_messages_are_the_caller_s_fault(chatml, messages):
    with pytest.raises(InvalidRequestError):
        chatml.render(messages)


def test_tool_calls_reach_the_template_as_objects(make_tokenizer):
    renderer = ChatRenderer(make_tokenizer("{{ messages[0].tool_calls[0].function.arguments | tojson }}"))
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": json.dumps({"a": [1, "é"]})}}
    assert renderer.render([{"role": "assistant", "tool_calls": [call]}]) == '{"a": [1, "é"]}'


def test_every_failure_is_one_of_ours(make_tokenizer):
    with pytest.raises(VLLMLocalError):
        ChatRenderer(make_tokenizer("{% endfor %}")).render([HI])


@pytest.mark.parametrize(
    ("more", "shown"),
    [({}, "Hm.|Hello!"), ({"tool_calls": [{"function": {"name": "add", "arguments": "{}"}}]}, "0|Hello!")],
)
def test_thoughts_are_shown_to_gpt_oss_where_it_takes_them(make_tokenizer, more, shown):
    template = "{% for message in messages %}{{ message.thinking or 0 }}|{{ message.content }}{% endfor %}"
    renderer = ChatRenderer(make_tokenizer(template))
    message = {**HELLO, "reasoning": "Hm.", **more}
    assert renderer.render([message], add_generation_prompt=False) == shown
