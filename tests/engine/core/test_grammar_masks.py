import numpy as np

from tests.engine.core.fakes import FakeGrammar, make_request
from vllm_local.core.grammar_masks import GrammarMasks


def bits(row, size=50):
    return set(np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little")[:size]).tolist())


def bitmask_of(requests):
    future = GrammarMasks(50).begin(requests)
    assert future is not None
    return future.result()


def test_no_grammar_needs_no_bitmask():
    assert GrammarMasks(50).begin([make_request("a", 3)]) is None


def test_every_sampled_request_has_its_row():
    requests = [
        make_request("free", 3),
        make_request("bound", 3, grammar=FakeGrammar([3, 4], [31, 5], [49])),
    ]
    bitmask = bitmask_of(requests)
    assert bitmask.shape == (2, 2)
    assert bits(bitmask[0]) == set(range(50))
    assert bits(bitmask[1]) == {3, 31, 49}


def test_a_grammar_that_fails_spares_the_others():
    broken = make_request("broken", 3, grammar=FakeGrammar([1], fails="fill_bitmask"))
    sound = make_request("sound", 3, grammar=FakeGrammar([1]))
    bitmask = bitmask_of([broken, sound])
    assert bits(bitmask[0]) == set()
    assert bits(bitmask[1]) == {1}
    assert "out of fuel" in broken.grammar_error
    assert sound.grammar_error is None


def test_settling_waits_for_the_bitmask():
    masks = GrammarMasks(50)
    masks.settle()
    future = masks.begin([make_request("a", 3, grammar=FakeGrammar([1]))])
    masks.settle()
    assert future is not None
    assert future.done()
