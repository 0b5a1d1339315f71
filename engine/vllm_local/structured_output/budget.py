"""Keeping room for a valid end: an answer of limited length must be able to close what it opened.

As long as the room that is left is ample, nothing is looked at. Then, behind each token, a way to the end is looked for
that fits what is left. A token behind which none does is not taken, and the way that is known is followed instead. So
an answer that can be complete within its budget is, once one way through all of it was found.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher

from vllm_local.structured_output.closer import Closer
from vllm_local.structured_output.tokenizer_bridge import TokenizerBridge

MAX_STEPS = 60
"""States that a search on the way may look at; it holds the engine's thread."""
MAX_DETOUR = 20
"""States of it where all that is looked for is a way back to the one that is known."""
MAX_REPLACED = 24
"""Tokens at the head of a known way in whose place others are tried."""


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
        self._way = way
        # Tokens that were looked at but not taken yet, and the way behind them.
        self._ahead: tuple[list[int], list[int] | None] | None = None
        self._look_at = max_tokens
        self._pause = 1
        self.remaining = max_tokens
        self.is_kept = way is not None and len(way) <= max_tokens
        self._plan()

    def take(self, tokens: list[int]) -> None:
        """Takes the answer's next tokens off."""
        ahead, self._ahead = self._ahead, None
        self.remaining -= len(tokens)
        if ahead is not None and ahead[0] == tokens:
            self._way = ahead[1]
        elif self._way is not None:
            self._way = self._way[len(tokens) :] if self._way[: len(tokens)] == tokens else None
        self._plan()

    def give_back(self, num_tokens: int) -> None:
        """Takes back tokens; the way from there is looked for when it is needed."""
        self.remaining += num_tokens
        self._way = self._ahead = None
        self._look_at = self.remaining

    def fits(self, matcher: LLMatcher, tokens: list[int]) -> bool:
        """Says whether tokens that the grammar accepts leave room for the end, or cannot be held against one.

        Args:
            matcher: The grammar before them.
            tokens: What may come next.
        """
        left = self.remaining - len(tokens)
        if not self.is_kept or left > self._look_at:
            return True
        behind = self._way_behind(matcher, tokens, left)
        self._ahead = (tokens, behind)
        if behind is not None:
            return len(behind) <= left
        # Where much is left and none is found, the fault may be the search's.
        way = self.way(matcher)
        return way is None or left > len(way) + 2 * self._growth

    def way(self, matcher: LLMatcher) -> list[int] | None:
        """Returns a way to the end that fits what is left, or None where none is known and none is found."""
        if not self.is_kept:
            return None
        if self._way is None and self.remaining <= self._look_at:
            self._way = self._closer.close(matcher, self.remaining, MAX_STEPS)
            if self._way is None:
                self._wait()
            self._plan()
        return self._way if self._way is not None and len(self._way) <= self.remaining else None

    def forced_way(self, matcher: LLMatcher) -> list[int] | None:
        """Returns the way to the end if there is room for nothing else, or None."""
        way = self.way(matcher)
        return way if way and len(way) == self.remaining else None

    def _way_behind(self, matcher: LLMatcher, tokens: list[int], left: int) -> list[int] | None:
        """Returns a way to the end behind further tokens."""
        known = self._way
        if known is not None and known[: len(tokens)] == tokens:
            return known[len(tokens) :]
        behind = matcher.deep_copy()
        if not behind.consume_tokens(tokens):
            return None
        if behind.is_accepting():
            return []
        found: list[int] | None = None
        for look in (self._similar, self._detour, self._anew):
            way = look(behind, tokens, left)
            if way is not None and (found is None or len(way) < len(found)):
                found = way
            if found is not None and len(found) <= left:
                break
        return found

    def _similar(self, behind: LLMatcher, tokens: list[int], _: int) -> list[int] | None:
        """Returns what the way that was known makes of itself when other tokens replace its head, or nothing of it."""
        if self._way is None:
            return None
        rest = self._rest_of_text(tokens, self._way)
        return rest if rest is not None and _leads_to_end(behind, rest) else self._tail(behind)

    def _detour(self, behind: LLMatcher, _: list[int], left: int) -> list[int] | None:
        """Returns a way that first ends what the tokens began: a character, a word of an `enum`, a number."""
        return None if self._way is None else self._closer.close(behind, left, MAX_DETOUR, self._tail)

    def _anew(self, behind: LLMatcher, _: list[int], left: int) -> list[int] | None:
        return self._closer.close(behind, left, MAX_STEPS)

    def _tail(self, matcher: LLMatcher) -> list[int] | None:
        """Returns the shortest tail of the way that was known that leads to the end from here too, or None."""
        known = self._way or []
        tails = (known[num_replaced:] for num_replaced in range(min(MAX_REPLACED, len(known)), -1, -1))
        return next((tail for tail in tails if _leads_to_end(matcher, tail)), None)

    def _rest_of_text(self, tokens: list[int], known: list[int]) -> list[int] | None:
        """Returns the rest of the known way where the tokens cut the same text in another way."""
        begun = self._bridge.bytes_of(tokens)
        is_same = self._bridge.bytes_of(known[: len(begun)]).startswith(begun)
        if not is_same or any(map(self._bridge.is_special, (*tokens, *known))):
            return None
        return self._bridge.tokenize(self._bridge.bytes_of(known)[len(begun) :])

    def _wait(self) -> None:
        """Puts the next search off, longer each time, since this one found nothing."""
        self._look_at = self.remaining - min(self._pause, max(1, self.remaining // 8))
        self._pause *= 2

    def _plan(self) -> None:
        """Sets at how many tokens left a way must be known again: each token until then makes it longer by `growth`."""
        if self._way is not None:
            spare = self.remaining - len(self._way) - self._growth
            self._look_at = self.remaining - max(0, spare // (1 + self._growth))


def set_bits(mask: npt.NDArray[np.int32], token_ids: list[int] | tuple[int, ...]) -> None:
    """Allows tokens in a bitmask."""
    bits = mask.view(np.uint32)
    for token_id in token_ids:
        bits[token_id // 32] |= np.uint32(1 << (token_id % 32))


def _leads_to_end(matcher: LLMatcher, tokens: list[int]) -> bool:
    if matcher.validate_tokens(tokens) < len(tokens):
        return False
    behind = matcher.deep_copy()
    return bool(behind.consume_tokens(tokens) and behind.is_accepting())
