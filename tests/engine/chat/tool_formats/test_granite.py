"""A JSON list behind a marker."""

import pytest

from tests.engine.chat.answers import allows, ask, said
from vllm_local.chat.tool_formats.granite import Granite

LIST = '[{"name": "get_weather", "arguments": {"city": "Oslo", "days": 3}}, {"name": "now", "arguments": {}}]'
CALLS = [("get_weather", {"city": "Oslo", "days": 3}), ("now", {})]

READ = {
    "the token": (f"<|tool_call|>{LIST}", "", CALLS),
    "the tag": (f"<tool_call> {LIST}\n", "", CALLS),
    "words around": (f"Well. <|tool_call|>{LIST} Done.", "Well.  Done.", CALLS),
    "no list": ("<|tool_call|> none", "<|tool_call|> none", []),
    "cut off": (f"<|tool_call|>{LIST[:51]}", "", [("get_weather", '{"city": "Osl')]),
    "cut off behind the first": (f"<|tool_call|>{LIST[:66]}", "", CALLS[:1]),
}


@pytest.mark.parametrize(("text", "content", "calls"), READ.values(), ids=READ)
def test_reads(text, content, calls):
    assert said(text, Granite()) == (content, calls)


def test_asks_for_what_it_reads():
    assert allows(Granite().constraint(ask("required")), f"<|tool_call|>{LIST}")
    assert allows(Granite().constraint(ask()), f"Well. <|tool_call|>{LIST}")
    assert not allows(Granite().constraint(ask(parallel_tool_calls=False)), f"<|tool_call|>{LIST}")
