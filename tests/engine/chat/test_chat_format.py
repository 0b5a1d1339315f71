import logging

import pytest

from tests.engine.chat import templates
from vllm_local.chat.chat_format import ChatFormat
from vllm_local.chat.deltas import ParsedAnswer
from vllm_local.chat.renderer import ChatRenderer
from vllm_local.chat.stream_router import parse_answer
from vllm_local.chat.tools import read_tool_request
from vllm_local.errors import InvalidConfigError, InvalidRequestError
from vllm_local.grammar_spec import Json, Text, sub_constraints

SYSTEM = {"role": "system", "content": "Be brief."}
HI = {"role": "user", "content": "Hi"}
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {}}}}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
HERMES = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{{ tools }}<tool_call>"
THINKS = HERMES + "{% if add_generation_prompt %}{{ '<think>' if enable_thinking }}{% endif %}"
BARE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


@pytest.fixture
def make_format(make_tokenizer):
    def make(template=None, **names):
        tokenizer = make_tokenizer(template)
        return ChatFormat(ChatRenderer(tokenizer), tokenizer, **names)

    return make


def test_the_template_says_how_tools_are_called_and_thoughts_are_told(make_format, caplog):
    caplog.set_level(logging.INFO)
    chat = make_format(THINKS)
    prepared = chat.prepare([HI], read_tool_request([ADD]), enable_thinking=True)
    assert (chat.tool_format.name, prepared.reasoning_format.name) == ("hermes", "think")
    assert prepared.reasoning_state == "open"
    assert "format hermes, from the chat template" in caplog.text
    answer = parse_answer(prepared.make_router(), f"1 + 0\n</think>\n\nLet me see.{CALL}")
    assert (answer.reasoning, answer.content) == ("1 + 0", "Let me see.")
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [("add", '{"a": 1}')]


def test_every_answer_gets_a_router_of_its_own(make_format):
    prepared = make_format(HERMES).prepare([HI], read_tool_request([ADD]))
    first, second = (parse_answer(prepared.make_router(), CALL) for _ in range(2))
    assert first.tool_calls[0].id != second.tool_calls[0].id


def test_names_override_what_the_template_says(make_format):
    named = make_format(HERMES, tool_call_parser="mistral", reasoning_parser="qwen3")
    assert (named.tool_format.name, named.reasoning_format.name) == ("mistral", "think")
    plain = make_format(HERMES)
    assert plain.with_parsers() is plain
    renamed = plain.with_parsers(reasoning_parser="deepseek_r1").with_template(BARE)
    assert (renamed.tool_format.name, renamed.reasoning_format.name) == ("generic", "think")
    with pytest.raises(InvalidConfigError, match="tool_call_parser='nobody'"):
        _ = plain.with_parsers("nobody").tool_format


def test_without_tools_and_a_form_anything_goes(make_format):
    prepared = make_format(HERMES).prepare([HI])
    assert prepared.structured_outputs is None
    assert parse_answer(prepared.make_router(), f"Hello! {CALL}") == ParsedAnswer(content=f"Hello! {CALL}")


def test_the_form_begins_behind_the_thoughts(make_format):
    chat = make_format(THINKS)
    form = chat.prepare([HI], response=Json(True), enable_thinking=True).structured_outputs
    assert form.starts_after == "</think>"
    form = chat.prepare([HI], response=Json(True), enable_thinking=False).structured_outputs
    assert (form.constraint, form.starts_after) == (Json(True), None)


def test_a_call_or_the_form(make_format):
    form = make_format(HERMES).prepare([HI], read_tool_request([ADD]), Text("done")).structured_outputs
    parts = list(sub_constraints(form.constraint))
    assert Text("done") in parts
    assert Text("<tool_call>\n") in parts


def test_marks_that_are_special_tokens_must_be_seen(make_format, monkeypatch):
    chat = make_format(HERMES)
    assert not chat.prepare([HI], read_tool_request([ADD])).shows_special_tokens
    monkeypatch.setattr(type(chat.tool_format), "markers", ("<|im_start|>",))
    assert chat.prepare([HI], read_tool_request([ADD])).shows_special_tokens
    assert not chat.prepare([HI], read_tool_request([ADD], "none")).shows_special_tokens


@pytest.mark.parametrize("template", [BARE, None, templates.GEMMA])
def test_a_template_that_knows_no_tools_has_them_described(make_format, template):
    chat = make_format(template)
    prepared = chat.prepare([HI], read_tool_request([ADD]))
    assert chat.tool_format.name == "generic"
    assert '{"name": "add", "parameters": {"type": "object", "properties": {"a": {}}}}' in prepared.text
    assert prepared.text.index("</tools>") < prepared.text.index("Hi")
    assert parse_answer(prepared.make_router(), CALL).tool_calls[0].name == "add"


def test_the_conversation_s_own_system_prompt_comes_first(make_format):
    text = make_format(BARE).prepare([SYSTEM, HI], read_tool_request([ADD])).text
    assert text.startswith("[system]Be brief.\n\n# Tools\n")
    assert text.count("[system]") == 1


def test_earlier_calls_are_put_into_words(make_format):
    call = {"id": "x", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    said: dict[str, object] = {"role": "assistant", "tool_calls": [call]}
    messages = [HI, said, {"role": "tool", "tool_call_id": "x", "content": "7"}]
    chat = make_format(BARE)
    text = chat.render(messages)
    assert text == f"[user]Hi[assistant]{CALL}[user]<tool_response>\n7\n</tool_response>"
    said["content"] = "Let me see."
    assert f"[assistant]Let me see.\n{CALL}[user]" in chat.render(messages)


def test_a_continued_message_keeps_its_thoughts_open(make_format):
    messages = [HI, {"role": "assistant", "content": "<think>Well"}]
    prepared = make_format(THINKS).prepare(messages, add_generation_prompt=False, continue_final_message=True)
    assert prepared.reasoning_state == "open"
    assert prepared.text.endswith("<think>Well")


@pytest.mark.parametrize(("enable_thinking", "starts"), [(True, ()), (None, ("<think>",))])
def test_a_limit_on_thoughts(make_format, enable_thinking, starts):
    template = THINKS if enable_thinking else HERMES
    chat = make_format(template, reasoning_parser="qwen3")
    budget = chat.prepare([HI], enable_thinking=enable_thinking).thinking_budget(5)
    assert (budget.max_tokens, budget.end, budget.starts) == (5, "</think>", starts)
    assert budget.closing.strip() == "</think>"


def test_no_limit_on_thoughts_that_there_are_not(make_format):
    chat = make_format(THINKS)
    assert chat.prepare([HI], enable_thinking=True).thinking_budget(None) is None
    assert chat.prepare([HI], enable_thinking=False).thinking_budget(5) is None
    with pytest.raises(InvalidRequestError, match="this model does not think"):
        make_format(BARE).prepare([HI]).thinking_budget(5)
    with pytest.raises(InvalidRequestError, match="gpt_oss ends no thoughts"):
        make_format(BARE, reasoning_parser="openai_gptoss").prepare([HI]).thinking_budget(5)
