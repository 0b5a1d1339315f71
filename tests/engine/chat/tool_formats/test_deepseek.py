"""Names and JSON between special tokens."""

import pytest

from tests.engine.chat.answers import allows, ask, said
from vllm_local.chat.tool_formats.deepseek import DeepSeekV3, DeepSeekV31

OPEN, CLOSE = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
OPEN_CALL, SEPARATOR, CLOSE_CALL = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"


def fenced(name, arguments):
    return f"{OPEN_CALL}function{SEPARATOR}{name}\n```json\n{arguments}\n```{CLOSE_CALL}"


def plain(name, arguments):
    return f"{OPEN_CALL}{name}{SEPARATOR}{arguments}{CLOSE_CALL}"


HANGZHOU = '{"city": "杭州"}'
CALLS = [("get_weather", {"city": "杭州"}), ("now", {})]
FENCED = f"{OPEN}{fenced('get_weather', HANGZHOU)}\n{fenced('now', '{}')}{CLOSE}"
PLAIN = f"{OPEN}{plain('get_weather', HANGZHOU)}{plain('now', '{}')}{CLOSE}"

READ = {
    "fenced": (FENCED, "", CALLS),
    "plain": (PLAIN, "", CALLS),
    "words before": (f"So:\n\n{PLAIN}", "So:\n\n", CALLS),
    "without the outer tokens": (plain("now", "{}") + fenced("now", "{}"), "", [("now", {})] * 2),
    "a fence in a string": (OPEN + fenced("now", '{"a": "```"}') + CLOSE, "", [("now", {"a": "```"})]),
    "no JSON": (f"{OPEN}{plain('now', '{a]')}{CLOSE} so", " so", [("now", "{a]")]),
    "no call": (f"{OPEN}nothing{CLOSE}", f"{OPEN}nothing{CLOSE}", []),
    "cut off in the name": (f"{OPEN}{OPEN_CALL}get", f"{OPEN}{OPEN_CALL}get", []),
    "cut off in the arguments": (FENCED[: FENCED.index("州")], "", [("get_weather", '{"city": "杭')]),
    "cut off in the fence": (FENCED[: FENCED.index(CLOSE_CALL) - 1], "", CALLS[:1]),
    "cut off behind a call": (PLAIN[: PLAIN.index(CLOSE_CALL) + 5], "", CALLS[:1]),
}


@pytest.mark.parametrize("tool_format", [DeepSeekV3(), DeepSeekV31()], ids=lambda item: item.name)
@pytest.mark.parametrize(("text", "content", "calls"), READ.values(), ids=READ)
def test_both_read_both(tool_format, text, content, calls):
    assert said(text, tool_format) == (content, calls)


def test_asks_for_what_it_reads():
    v3, v31 = DeepSeekV3().constraint(ask("required")), DeepSeekV31().constraint(ask("required"))
    assert allows(v3, FENCED)
    assert not allows(v3, PLAIN)
    assert allows(v31, PLAIN)
    assert not allows(v31, FENCED)
    assert allows(DeepSeekV31().constraint(ask()), f"So: {PLAIN}")
