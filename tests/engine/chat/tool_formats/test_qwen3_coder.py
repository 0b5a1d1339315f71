"""Arguments in tags."""

import pytest

from tests.engine.chat.answers import allows, ask, read, said, tool
from vllm_local.chat.tool_formats.qwen3_coder import Qwen3Coder, SeedOss
from vllm_local.errors import InvalidRequestError

QWEN = Qwen3Coder()
TEXT = 'a "b" \\ <c>\n\n</function>'


def call(name, **arguments):
    inside = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{inside}</function>\n</tool_call>"


ALL = call("get_weather", city=TEXT, days=3, tags='["x", "y"]', unit="F", where='{"lat": 1.50}', exact="true")
VALUES = {"city": TEXT, "days": 3, "tags": ["x", "y"], "unit": "F", "where": {"lat": 1.5}, "exact": True}
NOW = call("now")

READ = {
    "every kind": (ALL, "", [("get_weather", VALUES)]),
    "no arguments": (NOW, "", [("now", {})]),
    "two": (f"Both:\n{NOW}\n{call('get_weather', city='X')}", "Both:\n", [("now", {}), ("get_weather", {"city": "X"})]),
    "numbers that are texts": (
        call("get_weather", city="12", note="7"),
        "",
        [("get_weather", {"city": "12", "note": "7"})],
    ),
    "a word that is nothing": (
        call("get_weather", city="null", unit="null", note="None"),
        "",
        [("get_weather", {"city": "null", "unit": None, "note": None})],
    ),
    "a word that is a truth": (
        call("get_weather", city="True", exact="False"),
        "",
        [("get_weather", {"city": "True", "exact": False})],
    ),
    "a bounded text": (call("get_weather", city="", code='"abc"'), "", [("get_weather", {"city": "", "code": "abc"})]),
    "the wrong kind": (
        call("get_weather", city="x", days="many"),
        "",
        [("get_weather", {"city": "x", "days": "many"})],
    ),
    "an unknown argument": (call("now", a="1", b="b"), "", [("now", {"a": 1, "b": "b"})]),
    "line breaks of its own": (call("get_weather", city="\n\na\n"), "", [("get_weather", {"city": "\n\na\n"})]),
    "no line breaks": (
        "<tool_call><function=get_weather><parameter=city>a b</parameter></function></tool_call>",
        "",
        [("get_weather", {"city": "a b"})],
    ),
    "no closing tags": (
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nX\n</parameter>\n</tool_call>",
        "",
        [("get_weather", {"city": "X"})],
    ),
    "no function": ("<tool_call>\nwords\n</tool_call>", "<tool_call>\nwords\n</tool_call>", []),
    "cut off in the name": ("<tool_call>\n<function=get", "<tool_call>\n<function=get", []),
    "cut off before an argument": ("<tool_call>\n<function=now>\n<param", "", [("now", "")]),
    "cut off in a key": (ALL[: ALL.index("ity")], "", [("get_weather", "")]),
    "cut off in a text": (ALL[: ALL.index("<c>")], "", [("get_weather", '{"city": "a \\"b\\" \\\\ ')]),
    "cut off in a list": (
        ALL[: ALL.index(', "y"')],
        "",
        [("get_weather", '{"city": "a \\"b\\" \\\\ <c>\\n\\n</function>", "days": 3, "tags": ["x"')],
    ),
    "cut off at the end": (NOW[:-20], "", [("now", "")]),
}


@pytest.mark.parametrize(("text", "content", "calls"), READ.values(), ids=READ)
def test_reads(text, content, calls):
    assert said(text, QWEN) == (content, calls)


def test_a_number_keeps_its_digits():
    text = call("get_weather", city="x", where='{"lat": 0.1000000000000000055}')
    assert '{"lat": 0.1000000000000000055}' in read(text, QWEN).tool_calls[0].arguments


def test_asks_for_what_it_reads():
    required = QWEN.constraint(ask("required"))
    assert allows(required, ALL)
    assert allows(required, f"{ALL}\n{NOW}")
    assert not allows(required, ALL.replace("\n3\n", "\nthree\n"))
    assert not allows(required, ALL.replace("\nF\n", "\nK\n"))
    assert not allows(required, NOW.replace("now", "get_weather"))
    assert allows(required, call("get_weather", city="x", code='"abc"'))
    assert not allows(required, call("get_weather", city="x", code="abc"))


def test_seed_oss_has_a_tag_of_its_own():
    text = ALL.replace("tool_call>", "seed:tool_call>")
    assert said(text, SeedOss()) == ("", [("get_weather", VALUES)])
    assert allows(SeedOss().constraint(ask("required")), text)


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"properties": {"a": {}}, "minProperties": 1}, r"\$\.minProperties"),
        ({"properties": {"a>b": {}}}, r"\$\.properties\.a>b"),
        ({"properties": {}, "required": ["a"]}, r"\$\.required"),
        ({"properties": {}, "required": "a"}, r"\$\.required"),
    ],
)
def test_a_schema_that_cannot_be_kept(schema, path):
    with pytest.raises(InvalidRequestError, match=path) as caught:
        QWEN.constraint(ask("auto", [tool("f", schema)]))
    assert caught.value.parameter == "tools"
