"""Words that an answer must not hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence


class BadWords:
    """One request's `bad_words`, and the end of its answer as far as they have to know it.

    Forbidden is the last token of a word, and only where the answer ends in all the others, so that its tokens may
    stand elsewhere (vLLM's rule, `v1/sample/ops/bad_words.py`). The prompt does not count.
    """

    __slots__ = ("_last_tokens", "_tail")

    def __init__(self, words: Iterable[Sequence[int]], output_token_ids: Sequence[int]) -> None:
        """Takes over an answer at whatever point.

        Args:
            words: The tokens of each, at least one.
            output_token_ids: The answer so far.
        """
        # By the number of tokens before the last: these tokens, and the last ones that they forbid.
        self._last_tokens: dict[int, dict[tuple[int, ...], list[int]]] = {}
        for word in words:
            *before, last = word
            self._last_tokens.setdefault(len(before), {}).setdefault(tuple(before), []).append(last)
        self._tail: deque[int] = deque(output_token_ids, maxlen=max(self._last_tokens, default=0))

    def append(self, token_ids: Iterable[int]) -> None:
        """Takes note of further tokens of the answer."""
        self._tail.extend(token_ids)

    def forbidden_token_ids(self) -> list[int]:
        """Returns the tokens that would complete a word."""
        tail = tuple(self._tail)
        found: list[int] = []
        for length, last_tokens in self._last_tokens.items():
            if length <= len(tail):
                found += last_tokens.get(tail[len(tail) - length :], ())
        return found
