"""Python literals that come a character at a time, as JSON."""

import json

import pytest
from hypothesis import given, settings

from tests.engine.chat.test_json_reader import JSON, read
from vllm_local.chat.deltas import ContentDelta
from vllm_local.chat.python_reader import read_python_value, stream_python_string

LITERALS = {
    "True": True,
    "false": False,
    "None": None,
    "null": None,
    "-12": -12,
    "1.5e-3": 0.0015,
    '"it\'s"': "it's",
    r"'\'\n\x41\u00e9\U0001f600\q'": "'\nAé😀\\q",
    r"'\ud83d\ude00'": "😀",
    r"'\ud83d!'": "\ufffd!",
    r"'\u12'": "\\u12",
    "[]": [],
    "[1, 'a', [None],]": [1, "a", [None]],
    "(1, 2)": [1, 2],
    "{'a': {\"b\": True}, 1: 2}": {"a": {"b": True}, "1": 2},
}


@pytest.mark.parametrize(("text", "value"), LITERALS.items(), ids=LITERALS)
def test_a_literal(text, value):
    found, _, rest = read(read_python_value, text + ")")
    assert json.loads(found) == value
    assert rest == ")"


@pytest.mark.parametrize(
    "text", ["here", "1_000", "01", "'open", "[1, ", "[1 2]", "{'a'}", "{[1]: 2}", "f(x)", "", "[" * 99]
)
def test_no_literal(text):
    assert read(read_python_value, text)[0] is None


def test_a_string_streams_as_json():
    def stream(source):
        source.push(text[0])
        return stream_python_string(source, ContentDelta)

    text = "'a\"\\n\\u00e9' "
    assert read(stream, text[1:]) == (True, '"a\\"\\né"', " ")
    text = "'a"
    assert read(stream, text[1:]) == (False, '"a', "")


@settings(derandomize=True, deadline=None, max_examples=30, database=None)
@given(value=JSON)
def test_what_python_and_json_write(value):
    for text in (repr(value), json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert json.loads(read(read_python_value, text + ",")[0]) == value
