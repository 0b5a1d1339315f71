"""Arguments that say whether they are texts."""

import pytest

from tests.engine.chat.answers import allows, ask, said
from vllm_local.chat.tool_formats.deepseek_dsml import DeepSeekDsml

DSML = DeepSeekDsml()
CALL = """<｜DSML｜invoke name="get_weather">
<｜DSML｜parameter name="city" string="true">杭 "州"
</｜DSML｜parameter>
<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>
</｜DSML｜invoke>"""
NOW = '<｜DSML｜invoke name="now">\n</｜DSML｜invoke>'
BLOCK = f"<｜DSML｜function_calls>\n{CALL}\n{NOW}\n</｜DSML｜function_calls>"
CALLS = [("get_weather", {"city": '杭 "州"\n', "days": 3}), ("now", {})]

READ = {
    "a block": (BLOCK, "", CALLS),
    "words before": (f"Moment.\n\n{BLOCK}", "Moment.\n\n", CALLS),
    "a text that looks like a number": (
        BLOCK.replace('"false">3', '"true">3'),
        "",
        [("get_weather", {"city": '杭 "州"\n', "days": "3"}), ("now", {})],
    ),
    "no call": ("<｜DSML｜function_calls>\nno", "<｜DSML｜function_calls>\nno", []),
    "cut off in the name": (BLOCK[:50], BLOCK[:50], []),
    "cut off in a text": (BLOCK[: BLOCK.index("州")], "", [("get_weather", '{"city": "杭 \\"')]),
    "cut off in a tag": (
        BLOCK[: BLOCK.index("</｜DSML｜invoke") + 6],
        "",
        [("get_weather", '{"city": "杭 \\"州\\"\\n", "days": 3')],
    ),
    "cut off behind a call": (BLOCK[: BLOCK.index(NOW) + 6], "", CALLS[:1]),
}


@pytest.mark.parametrize(("text", "content", "calls"), READ.values(), ids=READ)
def test_reads(text, content, calls):
    assert said(text, DSML) == (content, calls)


def test_asks_for_what_it_reads():
    required = DSML.constraint(ask("required"))
    assert allows(required, BLOCK)
    assert not allows(required, BLOCK.replace('"false">3', '"true">3'))
    assert allows(DSML.constraint(ask()), f"Moment. {BLOCK}")
