"""The random numbers that an answer's tokens are drawn with."""

from __future__ import annotations

import numpy as np

_BLOCK_LENGTH = 64
_WORDS_PER_COUNTER = 4
_MASK_64 = 2**64 - 1
_UNIT = 2.0**-53


class DrawStream:
    """One uniform number for each position of an answer, a function of (seed, choice_index, position) alone.

    A token is therefore drawn with the same number whoever else is in the batch, after preemption, after a restart,
    and when it is verified as a draft. The generator is Philox-4x64-10 (Salmon et al., "Parallel random numbers: as
    easy as 1, 2, 3", SC 2011), which computes any word of its stream from a key and a counter: the key is
    (seed, choice_index), and word number `position` of the stream belongs to the token at that position. numpy keeps
    the raw words of its bit generators stable across versions. Words come in blocks, so that a token costs a lookup.
    """

    __slots__ = ("_block", "_key", "_numbers")

    def __init__(self, seed: int, choice_index: int) -> None:
        """Names the stream.

        Args:
            seed: The request's seed, any 64-bit integer, signed or not.
            choice_index: Which of the request's n answers, from 0.
        """
        self._key = (choice_index << 64) | (seed & _MASK_64)
        self._block = -1
        self._numbers: list[float] = []

    def uniform(self, position: int) -> float:
        """Returns the number in [0, 1) for a position of the answer, from 0; 53 bits of it are random."""
        block, offset = divmod(position, _BLOCK_LENGTH)
        if block != self._block:
            counter = block * (_BLOCK_LENGTH // _WORDS_PER_COUNTER)
            words = np.random.Philox(key=self._key, counter=counter).random_raw(_BLOCK_LENGTH)
            self._numbers = ((words >> np.uint64(11)) * _UNIT).tolist()
            self._block = block
        return self._numbers[offset]
