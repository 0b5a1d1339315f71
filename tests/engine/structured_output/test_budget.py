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


def tokens_of(mask):
    return set(np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist())


def test_with_ample_room_nothing_is_narrowed(bridge, matcher):
    budget = make(bridge, matcher, 100)
    mask = np.full((bridge.ll_tokenizer.vocab_size + 31) // 32, -1, dtype=np.int32)
    budget.narrow(matcher, mask)
    assert (mask == -1).all()
    assert budget.forced_way(matcher) is None


def test_near_the_end_what_cannot_be_closed_is_not_begun(bridge, matcher):
    (bracket,), (quote,), (one,), (close,) = (bridge.tokenize(text) for text in (b"[", b'"', b"1", b"]"))
    budget = make(bridge, matcher, 4)
    budget.take(matcher, [bracket])
    matcher.consume_token(bracket)
    mask = np.frombuffer(matcher.compute_bitmask(), dtype=np.int32)[: len(bridge.end_mask)].copy()
    assert {quote, one, close} <= tokens_of(mask)
    budget.narrow(matcher, mask)
    assert {one, close} <= tokens_of(mask)
    assert quote not in tokens_of(mask)
    assert not budget.allows(matcher, [quote])
    assert budget.allows(matcher, [one])


def test_when_all_room_is_needed_the_way_is_forced(bridge, matcher):
    budget = make(bridge, matcher, 3)
    tokens = bridge.tokenize(b"[1")
    budget.take(matcher, tokens)
    matcher.consume_tokens(tokens)
    assert bridge.bytes_of(budget.forced_way(matcher)) == b"]"
    budget.give_back(1)
    assert budget.remaining == 2


def test_what_never_fits_is_not_kept(bridge, matcher):
    budget = make(bridge, matcher, 1)
    assert not budget.is_kept
    assert budget.allows(matcher, bridge.tokenize(b"[") * 3)
    assert budget.forced_way(matcher) is None


def test_bits_are_set_up_to_the_sign():
    mask = np.zeros(2, dtype=np.int32)
    set_bits(mask, [0, 31, 33])
    assert tokens_of(mask) == {0, 31, 33}
