import numpy as np
import pytest
from llguidance import LLMatcher

from vllm_local.structured_output.budget import Budget, set_bits
from vllm_local.structured_output.closer import Closer

LIST = 'start: %json {"type": "array", "items": {"enum": ["aaaaaaaaaa", 1]}}'


@pytest.fixture
def matcher(bridge):
    return LLMatcher(bridge.ll_tokenizer, f"%llguidance {{}}\n{LIST}", log_level=0)


def make(bridge, matcher, max_tokens):
    closer = Closer(bridge)
    return Budget(closer, bridge, closer.close(matcher, 50), 8, max_tokens)


def take(budget, matcher, tokens):
    budget.take(tokens)
    matcher.consume_tokens(tokens)


def tokens_of(mask):
    return set(np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist())


def test_with_ample_room_everything_fits_and_nothing_is_forced(bridge, matcher):
    budget = make(bridge, matcher, 100)
    assert budget.fits(matcher, bridge.tokenize(b"["))
    assert budget.forced_way(matcher) is None


def test_near_the_end_what_cannot_be_closed_does_not_fit(bridge, matcher):
    (bracket,), (quote,), (one,), (close,) = (bridge.tokenize(text) for text in (b"[", b'"', b"1", b"]"))
    budget = make(bridge, matcher, 4)
    take(budget, matcher, [bracket])
    assert not budget.fits(matcher, [quote])
    assert budget.way(matcher) == [close]
    assert budget.fits(matcher, [one])
    take(budget, matcher, [one])
    assert budget.way(matcher) == [close]


def test_when_all_room_is_needed_the_way_is_forced(bridge, matcher):
    budget = make(bridge, matcher, 3)
    take(budget, matcher, bridge.tokenize(b"[1"))
    assert bridge.bytes_of(budget.forced_way(matcher)) == b"]"
    budget.give_back(1)
    assert budget.remaining == 2


def test_what_never_fits_is_not_kept(bridge, matcher):
    budget = make(bridge, matcher, 1)
    assert not budget.is_kept
    assert budget.fits(matcher, bridge.tokenize(b"[") * 3)
    assert budget.way(matcher) is None
    assert budget.forced_way(matcher) is None


def test_a_way_is_carried_on_through_what_it_does_not_say(bridge):
    matcher = LLMatcher(bridge.ll_tokenizer, "%llguidance {}\nstart: /[0-9]{4}-[a-z]+/", log_level=0)
    (seven,), (x,) = bridge.tokenize(b"7"), bridge.tokenize(b"x")
    budget = Budget(Closer(bridge), bridge, bridge.tokenize(b"0000-a"), 6, 6)
    for _ in range(4):
        assert budget.fits(matcher, [seven])
        take(budget, matcher, [seven])
    assert bridge.bytes_of(budget.forced_way(matcher)) == b"-a"
    take(budget, matcher, bridge.tokenize(b"-"))
    assert budget.fits(matcher, [x])


def test_without_any_way_to_be_found_nothing_is_held_against_a_token(bridge):
    endless = LLMatcher(bridge.ll_tokenizer, '%llguidance {}\nstart: "b" | rest\nrest: "a" rest | "c"{99}', log_level=0)
    (a,) = bridge.tokenize(b"a")
    budget = Budget(Closer(bridge), bridge, bridge.tokenize(b"b"), 1, 50)
    for _ in range(5):
        assert budget.fits(endless, [a])
        take(budget, endless, [a])


def test_bits_are_set_up_to_the_sign():
    mask = np.zeros(2, dtype=np.int32)
    set_bits(mask, [0, 31, 33])
    assert tokens_of(mask) == {0, 31, 33}
