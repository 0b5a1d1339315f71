"""Names and arguments behind a token, or a JSON list."""

import re

import pytest

from tests.engine.chat.answers import allows, ask, said
from vllm_local.chat.tool_formats.mistral import Mistral, MistralJson

NAMED = '[TOOL_CALLS]get_weather[ARGS]{"city": "Nîmes", "days": 1}'
LISTED = '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Nîmes"}}]'
NOW: tuple[str, dict[str, object]] = ("now", {})

READ = {
    "named": (NAMED, "", [("get_weather", {"city": "Nîmes", "days": 1})]),
    "two named": (f"{NAMED}[TOOL_CALLS]now[ARGS]{{}}", "", [("get_weather", {"city": "Nîmes", "days": 1}), NOW]),
    "with an id": (
        '[TOOL_CALLS]now[CALL_ID]abc123def[ARGS]{"a": "[TOOL_CALLS]"}',
        "",
        [("now", {"a": "[TOOL_CALLS]"})],
    ),
    "without the separator": ("Hm.[TOOL_CALLS]now{}", "Hm.", [NOW]),
    "listed": (LISTED, "", [("get_weather", {"city": "Nîmes"})]),
    "two listed": (
        LISTED[:-1] + ', {"arguments": {}, "name": "now", "id": "123456789"}]',
        "",
        [("get_weather", {"city": "Nîmes"}), NOW],
    ),
    "no call": ("[TOOL_CALLS] are what I make {sometimes}", "[TOOL_CALLS] are what I make {sometimes}", []),
    "an empty list": ("[TOOL_CALLS][]", "[TOOL_CALLS][]", []),
    "no JSON": ("[TOOL_CALLS]now[ARGS]none[TOOL_CALLS]now{}", "", [("now", "none"), NOW]),
    "cut off in the name": ("[TOOL_CALLS]get_wea", "[TOOL_CALLS]get_wea", []),
    "cut off in the arguments": (NAMED[:44], "", [("get_weather", '{"city": "Nîmes')]),
    "cut off in the list": (LISTED[:66], "", [("get_weather", '{"city": "Nîmes')]),
    "cut off in the next of the list": (
        '[TOOL_CALLS] [{"name": "now", "arguments": {}}, {"name": "no',
        "",
        [NOW],
    ),
}


@pytest.mark.parametrize("tool_format", [Mistral(), MistralJson()], ids=lambda item: item.name)
@pytest.mark.parametrize(("text", "content", "calls"), READ.values(), ids=READ)
def test_both_read_both(tool_format, text, content, calls):
    assert said(text, tool_format) == (content, calls)


def test_asks_for_what_it_reads():
    named, listed = Mistral().constraint(ask("required")), MistralJson().constraint(ask("required"))
    assert allows(named, NAMED)
    assert allows(named, f"{NAMED}[TOOL_CALLS]now[ARGS]{{}}")
    assert not allows(named, LISTED)
    assert allows(listed, LISTED)
    assert allows(listed, LISTED[:-1] + ', {"name": "now", "arguments": {}}]')
    assert not allows(listed, NAMED)
    assert not allows(named, NAMED.replace('"days": 1', '"days": "1"'))
    assert allows(Mistral().constraint(ask()), f"Hm.{NAMED}")


def test_ids_are_as_the_templates_want_them():
    ids = {Mistral().make_call_id() for _ in range(50)}
    assert len(ids) == 50
    assert all(re.fullmatch("[A-Za-z0-9]{9}", call_id) for call_id in ids)
