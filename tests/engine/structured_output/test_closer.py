import json

import pytest
from llguidance import LLMatcher

from vllm_local.structured_output.closer import Closer


def matcher(bridge, lark):
    made = LLMatcher(bridge.ll_tokenizer, f"%llguidance {{}}\n{lark}", log_level=0)
    assert not made.is_error(), made.get_error()
    return made


@pytest.mark.parametrize(
    ("lark", "begun", "end"),
    [
        ('start: "abc"', "", "abc"),
        ('start: "abc"', "abc", ""),
        ("start: /[0-9]+-[0-9]+/", "12", "-0"),
        ("start: /a+b/", "aaa", "b"),
        ('start: "a"* "b"', "aa", "b"),
        ("start: %json {}", '{"a": [1, "x', '"]}'),
        ("start: %json {}", '{"a": {"b": tr', "ue}}"),
        ("start: %json {}", '{"a": -', "0}"),
        ("start: %json {}", '["}]', '"]'),
        ('start: %json {"enum": ["aaaa", "bb", "a"]}', "", '"a"'),
        ('start: %json {"type": "string", "minLength": 3}', '"x', "}}"),
        ('start: %json {"type": "string", "format": "email"}', '"a}', 'null}@0"'),
        ('start: %json {"type": "string", "pattern": "^[}a]+@$"}', '"}', '}@"'),
        ('start: %json {"type": "string", "pattern": "^[\\\\]a]+@$"}', '"]', ']@"'),
    ],
)
@pytest.mark.parametrize("max_tokens", [20, 300])
def test_an_end_is_found_and_short(bridge, lark, begun, end, max_tokens):
    state = matcher(bridge, lark)
    assert state.consume_tokens(bridge.tokenize(begun.encode()))
    way = Closer(bridge).close(state, max_tokens)
    assert way is not None
    assert len(way) <= len(bridge.tokenize(end.encode())) + 1
    assert state.consume_tokens(way), "the search must not change the grammar"
    assert state.is_accepting()


def test_required_names_are_taken_before_others(bridge):
    schema = {
        "type": "object",
        "properties": {name: {} for name in "abc"},
        "required": ["c"],
        "additionalProperties": False,
    }
    state = matcher(bridge, f"start: %json {json.dumps(schema)}")
    hints = [bridge.tokenize(b'"c":')]
    assert bridge.bytes_of(Closer(bridge, (), hints).close(state, 20)) == b'{"c":""}'


def test_free_text_is_left_by_the_text_that_ends_it(bridge):
    state = matcher(bridge, 'start: head\nhead[lazy]: /(?s:.*)/ "</end>"')
    state.consume_tokens(bridge.tokenize(b'say "'))
    closer = Closer(bridge, [bridge.tokenize(b"</end>")])
    assert bridge.bytes_of(closer.close(state, 20)) == b"</end>"


def test_there_need_not_be_an_end(bridge):
    state = matcher(bridge, 'start: "a" start')
    assert Closer(bridge).close(state, 10) is None
