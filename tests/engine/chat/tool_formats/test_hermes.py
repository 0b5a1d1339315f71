"""JSON in tags."""

import pytest

from tests.engine.chat.answers import allows, ask, said
from vllm_local.chat.tool_formats.hermes import Hermes
from vllm_local.grammar_spec import Json

HERMES = Hermes()
ONE = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln 😀", "days": 2}}\n</tool_call>'
NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
WEATHER = ("get_weather", {"city": "Köln 😀", "days": 2})

READ = {
    "one": (ONE, "", [WEATHER]),
    "two": (f"{ONE}\n{NOW}", "", [WEATHER, ("now", {})]),
    "words before": (f"Let me look.\n{ONE}", "Let me look.\n", [WEATHER]),
    "words between and after": (f"A {NOW} B {NOW} C", "A  B  C", [("now", {})] * 2),
    "no blanks": ('<tool_call>{"name":"now","arguments":{}}</tool_call>', "", [("now", {})]),
    "no arguments": ('<tool_call>{"name": "now"}</tool_call>', "", [("now", {})]),
    "null for arguments": ('<tool_call>{"name": "now", "arguments": null}</tool_call>', "", [("now", {})]),
    "parameters": ('<tool_call>{"name": "now", "parameters": {"a": [1]}}</tool_call>', "", [("now", {"a": [1]})]),
    "arguments first": (
        '<tool_call>{"arguments": {"a": "}"}, "id": 7, "name": "now"}</tool_call>',
        "",
        [("now", {"a": "}"})],
    ),
    "arguments as a string": (
        '<tool_call>{"name": "now", "arguments": "{\\"a\\": \\"\\\\n\\"}"}</tool_call>',
        "",
        [("now", {"a": "\n"})],
    ),
    "a closing tag in a string": (
        '<tool_call>{"name": "now", "arguments": {"a": "</tool_call>\\"{"}}</tool_call>',
        "",
        [("now", {"a": '</tool_call>"{'})],
    ),
    "unknown name": ('<tool_call>{"name": "nope", "arguments": {}}</tool_call>', "", [("nope", {})]),
    "no closing tag": (NOW.removesuffix("\n</tool_call>"), "", [("now", {})]),
    "no call": ("Just <b>words</b> and {braces}.", "Just <b>words</b> and {braces}.", []),
    "only blanks": ("\n \n", "\n \n", []),
    "half an opener": ("a <tool_ca", "a <tool_ca", []),
    "not JSON": ("<tool_call>\nnot JSON\n</tool_call>", "<tool_call>\nnot JSON\n</tool_call>", []),
    "no name": ('<tool_call>{"x": 1}</tool_call>', '<tool_call>{"x": 1}</tool_call>', []),
    "the next is fine": (f"<tool_call>oops</tool_call>{NOW}", "<tool_call>oops</tool_call>", [("now", {})]),
    "arguments that are no JSON": (
        '<tool_call>{"name": "now", "arguments": {"a": ]}}</tool_call> so',
        " so",
        [("now", '{"a": ]}}')],
    ),
    "cut off in the name": ('<tool_call>\n{"name": "get_w', '<tool_call>\n{"name": "get_w', []),
    "cut off behind the name": ('<tool_call>\n{"name": "now", "argu', "", [("now", "")]),
    "cut off in the arguments": (ONE[:62], "", [("get_weather", '{"city": "Köl')]),
    "cut off in an escape": ('<tool_call>{"name": "now", "arguments": {"a": "\\', "", [("now", '{"a": "\\')]),
    "cut off in the closing tag": (ONE[:-4], "", [WEATHER]),
}


@pytest.mark.parametrize(("text", "content", "calls"), READ.values(), ids=READ)
def test_reads(text, content, calls):
    assert said(text, HERMES) == (content, calls)


def test_asks_for_what_it_reads():
    both, one = f"{ONE}\n{NOW}", Json({"type": "object"})
    required = HERMES.constraint(ask("required"))
    assert allows(required, ONE)
    assert allows(required, both)
    assert not allows(required, f"Hm. {ONE}")
    assert not allows(required, ONE.replace("get_weather", "other"))
    assert not allows(HERMES.constraint(ask("required", parallel_tool_calls=False)), both)
    named = HERMES.constraint(ask({"type": "function", "function": {"name": "now"}}))
    assert allows(named, NOW)
    assert not allows(named, ONE)
    assert not allows(named, f"{NOW}\n{NOW}")
    auto = HERMES.constraint(ask())
    assert all(allows(auto, text) for text in ("", "Words.", ONE, f"Words.\n{both}"))
    assert not allows(auto, "<tool_call>\nwords")
    assert HERMES.constraint(ask("none")) is None
    assert HERMES.constraint(ask("none"), one) == one
    either = HERMES.constraint(ask(), one)
    assert allows(either, ONE)
    assert allows(either, '{"a": 1}')
    assert not allows(either, "Words.")
    assert not allows(HERMES.constraint(ask("required"), one), '{"a": 1}')
