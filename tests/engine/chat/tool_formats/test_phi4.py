"""A JSON list behind one of two markers."""

import pytest

from tests.engine.chat.answers import allows, ask, said
from vllm_local.chat.tool_formats.phi4 import Phi4, Phi4Functools

LIST = '[{"name": "get_weather", "arguments": {"city": "Rom"}}, {"name": "now", "arguments": {}}]'
CALLS = [("get_weather", {"city": "Rom"}), ("now", {})]

READ = {
    "tokens": (f"<|tool_call|>{LIST}<|/tool_call|>", "", CALLS),
    "functools": (f"functools{LIST}", "", CALLS),
    "words before": (f"Fine.\nfunctools{LIST}", "Fine.\n", CALLS),
    "a word": ("Use functools, e.g. functools[0].", "Use functools, e.g. functools[0].", []),
    "cut off": (f"functools{LIST[:52]}", "", [("get_weather", '{"city": "Rom"')]),
}


@pytest.mark.parametrize("tool_format", [Phi4(), Phi4Functools()], ids=lambda item: item.name)
@pytest.mark.parametrize(("text", "content", "calls"), READ.values(), ids=READ)
def test_both_read_both(tool_format, text, content, calls):
    assert said(text, tool_format) == (content, calls)


def test_asks_for_what_it_reads():
    assert allows(Phi4().constraint(ask("required")), f"<|tool_call|>{LIST}<|/tool_call|>")
    assert allows(Phi4Functools().constraint(ask()), f"functools{LIST}")
