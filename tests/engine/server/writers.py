"""Models for the fake engine that write a given text, or whatever a grammar lets them."""

import random
from collections.abc import Iterator

import numpy as np

from tests.engine.engine_fakes import FakeModelRunner, make_tokenizer


class Writer(FakeModelRunner):
    """Writes texts, the first choice the first of them, as far as the engine has not written them for it."""

    def __init__(self, *texts):
        super().__init__(self._next)
        self._texts = texts

    def _next(self, tokens, num_prompt_tokens, choice_index):
        tokenizer = make_tokenizer()
        written = tokenizer.decode(tokens[num_prompt_tokens:], skip_special_tokens=False)
        text = self._texts[choice_index]
        assert text.startswith(written), f"{written!r} is not the beginning of {text!r}"
        rest = tokenizer.encode(text[len(written) :], add_special_tokens=False)
        return rest[0] if rest else min(tokenizer.eos_token_ids)


class Babbler(FakeModelRunner):
    """Writes any token that the request's grammar allows, as a model with random weights does."""

    def __init__(self, seed=0):
        super().__init__(self._next)
        self._random = random.Random(seed)
        self._rows: Iterator[np.ndarray] = iter(())

    def execute(self, scheduled):
        bitmask = scheduled.grammar_bitmask
        self._rows = iter(() if bitmask is None else bitmask.result())
        return super().execute(scheduled)

    def _next(self, tokens, num_prompt_tokens, choice_index):
        row: np.ndarray | None = next(self._rows, None)
        if row is None:
            return self._random.randrange(make_tokenizer().vocab_size)
        allowed = np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little"))
        return int(self._random.choice(allowed)) if len(allowed) else 0
