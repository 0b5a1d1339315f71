"""JSON that comes a character at a time."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_local.chat.deltas import ContentDelta
from vllm_local.chat.json_reader import read_json_string, read_json_value, stream_json_value
from vllm_local.chat.text_source import TextSource


def read(make_reader, text):
    """What a reader returns of a text that comes a character at a time, what it yields, and what it leaves."""
    source = TextSource()
    reader, pending, shown = make_reader(source), list(text), []
    try:
        while True:
            delta = next(reader)
            if delta is not None:
                shown.append(delta.text)
            elif pending:
                source.push(pending.pop(0))
            else:
                source.end()
    except StopIteration as stop:
        return stop.value, "".join(shown), source.unread + "".join(pending)


@pytest.mark.parametrize("value", ["{}", "[]", '{"a": [1, {"b": "}\\"]"}]}', '"x\\\\"', "-1.5e3", "null", "[[[]]]"])
@pytest.mark.parametrize("rest", [",", "}", " x", "<"])
def test_a_value_and_what_is_left(value, rest):
    assert read(read_json_value, value + rest) == (value, "", rest)
    assert read(lambda source: stream_json_value(source, ContentDelta), value + rest) == (True, value, rest)


@pytest.mark.parametrize("text", ['{"a": 1', '["', '{"a\\', '"x', '{"a": ]}', "[}", "{<a>}", ""])
def test_no_value(text):
    assert read(read_json_value, text)[0] is None
    whole, shown, rest = read(lambda source: stream_json_value(source, ContentDelta), text)
    assert not whole
    assert text.endswith(shown + rest)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"a"', "a"),
        (r'"\u00e9\"\\"', 'é"\\'),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\ud83d"', "?"),
        ('"a\nb"', "a\nb"),
        ('"a', None),
        (r'"\x"', None),
        ("a", None),
    ],
)
def test_a_string(text, said):
    assert read(read_json_string, text)[0] == said


TEXTS = st.text(max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(derandomize=True, deadline=None, max_examples=30, database=None)
@given(value=JSON, indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_any_value_is_passed_on_as_it_is_written(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert read(read_json_value, text + " ") == (text, "", " ")
