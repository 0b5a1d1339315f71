"""Keeping room for a valid end: an answer of limited length must be able to close what it opened.

As long as the room that is left is ample, nothing is restricted. Then, at each token, a way to the end is known that
fits, and only tokens are allowed behind which one is known to fit as well; the way itself always is among them. So an
answer that can be complete within its budget is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher

from vllm_local.structured_output.closer import Closer
from vllm_local.structured_output.tokenizer_bridge import TokenizerBridge

MAX_CHECKED = 24
"""Tokens that are tried one by one at one place."""
NUM_PROBES = 8
"""Tokens of plain text that are tried on behalf of all."""


class Budget:
    """What is left of an answer's tokens, and the way to its end.

    Attributes:
        remaining: Tokens that are left.
        is_kept: Whether the answer can be complete within them; if not, nothing is restricted.
    """

    def __init__(
        self, closer: Closer, bridge: TokenizerBridge, way: list[int] | None, growth: int, max_tokens: int
    ) -> None:
        """Starts at the beginning of an answer.

        Args:
            closer: The grammar's.
            bridge: The model's tokens.
            way: Tokens from there to the end; None if no way is known.
            growth: Tokens by which one token may make the way longer.
            max_tokens: Most tokens of the answer.
        """
        self._closer = closer
        self._bridge = bridge
        self._growth = growth
        self._way = way or []
        self._is_known = True
        self._look_at = max_tokens
        self.remaining = max_tokens
        self.is_kept = way is not None and len(way) <= max_tokens
        self._plan()

    def take(self, matcher: LLMatcher, tokens: list[int]) -> None:
        """Takes the answer's next tokens off.

        Args:
            matcher: The grammar before them, which accepts them.
            tokens: What comes next.
        """
        self.remaining -= len(tokens)
        if not self.is_kept:
            return
        if self._is_known and self._way[: len(tokens)] == tokens:
            self._way = self._way[len(tokens) :]
        else:
            self._is_known = self._is_known and self._goes_on(matcher, tokens)

    def give_back(self, num_tokens: int) -> None:
        """Takes back tokens; the way from there is looked for when it is needed."""
        self.remaining += num_tokens
        self._is_known = False
        self._look_at = self.remaining

    def forced_way(self, matcher: LLMatcher) -> list[int] | None:
        """Returns the way to the end if there is room for nothing else, or None."""
        if not self.is_kept or self.remaining > self._look_at:
            return None
        way = self._find_way(matcher)
        return way if self.is_kept and len(way) >= self.remaining else None

    def allows(self, matcher: LLMatcher, tokens: list[int]) -> bool:
        """Says whether tokens that the grammar accepts leave room for the end."""
        if not self.is_kept or self.remaining - len(tokens) > self._look_at:
            return True
        way = self._find_way(matcher)
        if not self.is_kept or way[: len(tokens)] == tokens:
            return True
        left = self.remaining - len(tokens)
        if len(way) <= left and self._goes_on(matcher, tokens):
            return True
        behind = matcher.deep_copy()
        behind.consume_tokens(tokens)
        new_way = self._closer.close(behind, left)
        return new_way is not None and len(new_way) <= left

    def narrow(self, matcher: LLMatcher, allowed: npt.NDArray[np.int32]) -> None:
        """Takes the tokens that leave no room for the end out of a bitmask, 32 tokens to an int32."""
        if not self.is_kept or self.remaining > self._look_at:
            return
        way = self._find_way(matcher)
        if not self.is_kept or self.remaining - len(way) > self._growth:
            return
        ends = allowed & self._bridge.end_mask
        token_ids = [int(token_id) for token_id in np.flatnonzero(_as_bools(allowed & ~ends))]
        if len(token_ids) > MAX_CHECKED and self._plain_text_goes_on(matcher, allowed):
            allowed &= self._bridge.plain_mask
        else:
            fitting = self._fitting(matcher, token_ids[: 4 * MAX_CHECKED])
            allowed[:] = 0
            set_bits(allowed, fitting)
        allowed |= ends
        set_bits(allowed, way[:1])

    def _fitting(self, matcher: LLMatcher, token_ids: list[int]) -> list[int]:
        """Returns those of some tokens that leave room; not all are tried where there are many."""
        step = max(1, len(token_ids) // MAX_CHECKED)
        return [token_id for token_id in token_ids[::step] if self.allows(matcher, [token_id])]

    def _plain_text_goes_on(self, matcher: LLMatcher, allowed: npt.NDArray[np.int32]) -> bool:
        """Whether the way is the same behind any token of plain text, as it is in most strings."""
        if len(self._way) >= self.remaining:
            return False
        plain = np.flatnonzero(_as_bools(allowed & self._bridge.plain_mask))
        probes = plain[:: max(1, len(plain) // NUM_PROBES)]
        return len(plain) > 0 and all(self._goes_on(matcher, [int(token_id)]) for token_id in probes)

    def _goes_on(self, matcher: LLMatcher, tokens: list[int]) -> bool:
        """Whether the way that is known leads to the end behind further tokens as well."""
        longer = [*tokens, *self._way]
        if matcher.validate_tokens(longer) < len(longer):
            return False
        behind = matcher.deep_copy()
        return bool(behind.consume_tokens(longer) and behind.is_accepting())

    def _find_way(self, matcher: LLMatcher) -> list[int]:
        if not self._is_known:
            way = self._closer.close(matcher, self.remaining)
            self.is_kept = way is not None and len(way) <= self.remaining
            self._way = way or []
            self._is_known = True
        self._plan()
        return self._way

    def _plan(self) -> None:
        """Sets at how many tokens left a way must be known again: each token until then makes it longer by `growth`."""
        spare = self.remaining - len(self._way) - self._growth
        self._look_at = self.remaining - max(0, spare // (1 + self._growth))


def set_bits(mask: npt.NDArray[np.int32], token_ids: list[int] | tuple[int, ...]) -> None:
    """Allows tokens in a bitmask."""
    bits = mask.view(np.uint32)
    for token_id in token_ids:
        bits[token_id // 32] |= np.uint32(1 << (token_id % 32))


def _as_bools(mask: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    return np.unpackbits(mask.view(np.uint8), bitorder="little")
