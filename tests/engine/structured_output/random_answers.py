"""Answers without a model: tokens drawn from those that a grammar allows."""

import random

import numpy as np


def allowed_tokens(grammar, vocab_size):
    """What the bitmask allows."""
    bitmask = np.full((2, (vocab_size + 31) // 32), -1, dtype=np.int32)
    grammar.fill_bitmask(bitmask, 1)
    assert (bitmask[0] == -1).all(), "another row was written to"
    return [int(token_id) for token_id in np.flatnonzero(np.unpackbits(bitmask[1].view(np.uint8), bitorder="little"))]


def draw(grammar, vocab_size, max_tokens, seed, *, takes_forced=True):
    """Returns the tokens of an answer; it ends as an engine would end it, its end token left out."""
    rng = random.Random(seed)
    answer: list[int] = []
    while len(answer) < max_tokens:
        run = grammar.forced_tokens() if takes_forced else []
        if not run:
            choices = allowed_tokens(grammar, vocab_size)
            assert choices, "nothing is allowed"
            run = [rng.choice(choices)]
            fitting = grammar.fitting(run)
            if fitting != run and not takes_forced:
                # The bitmask has only that one left.
                assert allowed_tokens(grammar, vocab_size) == fitting
            run = fitting
        run = run[: max_tokens - len(answer)]
        assert grammar.accept(run), "what is allowed is not accepted"
        if run[-1] in grammar._bridge.eos_token_ids:
            return answer + run[:-1]
        answer += run
    return answer
