"""Arguments as pairs of tags."""

import pytest

from tests.engine.chat.answers import allows, ask, said
from vllm_local.chat.tool_formats.glm import Glm45, Glm47


def call(name, between, **arguments):
    pairs = [
        f"<arg_key>{key}</arg_key>{between}<arg_value>{value}</arg_value>{between}" for key, value in arguments.items()
    ]
    return f"<tool_call>{name}{between}{''.join(pairs)}</tool_call>"


ARGUMENTS = {"city": 'x "y"\n<z> ', "days": "2", "tags": "[]", "exact": "true"}
VALUES = {"city": 'x "y"\n<z> ', "days": 2, "tags": [], "exact": True}
BROKEN, TIGHT = (call("get_weather", between, **ARGUMENTS) for between in ("\n", ""))

READ = {
    "with line breaks": (BROKEN, "", [("get_weather", VALUES)]),
    "without": (TIGHT, "", [("get_weather", VALUES)]),
    "no arguments": (f"{call('now', '')}\n{call('now', chr(10))}", "", [("now", {})] * 2),
    "words before": (f"Now.\n{TIGHT}", "Now.\n", [("get_weather", VALUES)]),
    "no call": ("<tool_call>several words</tool_call>", "<tool_call>several words</tool_call>", []),
    "a tag that is another": ("<tool_call>now<b></tool_call>", "<tool_call>now<b></tool_call>", []),
    "cut off in the name": ("<tool_call>get_we", "<tool_call>get_we", []),
    "cut off in a key": (TIGHT[: TIGHT.index("ity")], "", [("get_weather", "")]),
    "cut off in a text": (TIGHT[: TIGHT.index('y"')], "", [("get_weather", '{"city": "x \\"')]),
    "cut off between": (
        BROKEN[: BROKEN.index("<arg_key>days") + 4],
        "",
        [("get_weather", '{"city": "x \\"y\\"\\n<z> "')],
    ),
}


@pytest.mark.parametrize("tool_format", [Glm45(), Glm47()], ids=lambda item: item.name)
@pytest.mark.parametrize(("text", "content", "calls"), READ.values(), ids=READ)
def test_both_read_both(tool_format, text, content, calls):
    assert said(text, tool_format) == (content, calls)


def test_asks_for_what_it_reads():
    older, newer = Glm45().constraint(ask("required")), Glm47().constraint(ask("required"))
    assert allows(older, BROKEN)
    assert not allows(older, TIGHT)
    assert allows(newer, TIGHT)
    assert allows(newer, call("now", ""))
    assert not allows(newer, call("get_weather", ""))
