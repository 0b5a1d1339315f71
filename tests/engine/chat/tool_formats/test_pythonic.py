"""A list of calls as Python writes them."""

import pytest

from tests.engine.chat.answers import allows, ask, said, tool
from vllm_local.chat.tool_formats.pythonic import Pythonic
from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Json

PYTHON = Pythonic()
MANY = '[get_weather(city="Köln \\"K\\"\\n", days=-2, tags=["a", \'b\'], exact=True, unit=None), now()]'
VALUES = {"city": 'Köln "K"\n', "days": -2, "tags": ["a", "b"], "exact": True, "unit": None}

READ = {
    "many": (MANY, "", [("get_weather", VALUES), ("now", {})]),
    "marked": (f"<|python_start|>{MANY}<|python_end|>", "", [("get_weather", VALUES), ("now", {})]),
    "marked behind words": ("Hm. <|python_start|>[now()]<|python_end|>", "Hm. ", [("now", {})]),
    "blanks": (
        "\n[ now( ) , get_weather( city = 'x' , days = 1 ) ]\n",
        "",
        [("now", {}), ("get_weather", {"city": "x", "days": 1})],
    ),
    "JSON's words": (
        "[get_weather(exact=true, unit=null, where={\"lat\": 1e3, 'x': [False]})]",
        "",
        [("get_weather", {"exact": True, "unit": None, "where": {"lat": 1e3, "x": [False]}})],
    ),
    "escapes": (
        r"[get_weather(city='\x41\u00e9\ud83d\ude00\U0001F600\'\d\/')]",
        "",
        [("get_weather", {"city": "Aé😀😀'\\d/"})],
    ),
    "brackets in a string": ('[get_weather(city="), now()]")]', "", [("get_weather", {"city": "), now()]"})]),
    "an empty string": ("[get_weather(city='')]", "", [("get_weather", {"city": ""})]),
    "a list that is none of calls": ("[1, 2] and [now]", "[1, 2] and [now]", []),
    "an unknown function": ("[print(x=1)]", "[print(x=1)]", []),
    "arguments without names": ('[get_weather("x")]', '[get_weather("x")]', []),
    "a list behind words": ("See: [now()]", "See: [now()]", []),
    "no literal": ("[get_weather(city=here)] so", "", [("get_weather", '{"city": here)] so')]),
    "too deep": ("[get_weather(city=" + "[" * 80 + ")]", "", [("get_weather", '{"city": ' + "[" * 80 + ")]")]),
    "cut off in the name": ("[get_wea", "[get_wea", []),
    "cut off in a string": (MANY[:24], "", [("get_weather", '{"city": "Köln ')]),
    "cut off in a list": (
        MANY[: MANY.index(", 'b'")],
        "",
        [("get_weather", '{"city": "Köln \\"K\\"\\n", "days": -2, "tags": ["a"')],
    ),
    "cut off in the next name": ("[now(), get_we", "", [("now", {})]),
}


@pytest.mark.parametrize(("text", "content", "calls"), READ.values(), ids=READ)
def test_reads(text, content, calls):
    assert said(text, PYTHON) == (content, calls)


ALLOWED = [
    '[get_weather(city="x")]',
    '[get_weather(city="x", days=2, exact=True, note=None, note="n"), now()]'.replace(', note="n"', ""),
    '[get_weather(city="x", unit="F")]',
    "<|python_start|>[now()]<|python_end|>",
    "Words.",
    "",
    "[",
    "[1]",
]
REFUSED = [
    "[get_weather()]",
    "[get_weather(days=2)]",
    '[get_weather(city="x", days="2")]',
    '[get_weather(city="x" days=2)]',
    "[other()]",
    "[now",
]


@pytest.mark.parametrize("text", ALLOWED)
def test_allows(text):
    assert allows(PYTHON.constraint(ask()), text)


@pytest.mark.parametrize("text", REFUSED)
def test_refuses(text):
    assert not allows(PYTHON.constraint(ask()), text)


def test_arguments_that_a_call_need_not_have():
    schema = {"properties": {"a": {"type": "boolean"}, "b": {"type": "integer"}, "c": {"type": "null"}}}
    required = PYTHON.constraint(ask("required", [tool("f", schema)]))
    for text in ("[f()]", "[f(a=True)]", "[f(b=1)]", "[f(c=None)]", "[f(a=False, c=None)]", "[f(a=True, b=1, c=None)]"):
        assert allows(required, text)
    for text in ("[f(, a=True)]", "[f(a=true)]", "[f(b=1, a=True)]", "[f(a=True b=1)]"):
        assert not allows(required, text)


def test_a_call_or_a_response():
    either = PYTHON.constraint(ask(), Json({"type": "array", "items": {"type": "integer"}}))
    assert allows(either, "[1, 2]")
    assert allows(either, "[now()]")
    assert not allows(either, "words")


def test_a_name_that_is_none_of_python_s():
    with pytest.raises(InvalidRequestError, match=r"\$\.properties\.a b"):
        PYTHON.constraint(ask("auto", [tool("f", {"properties": {"a b": {}}})]))
