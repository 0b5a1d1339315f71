"""A compiled constraint on one request's tokens: the `Grammar` protocol over llguidance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher

from vllm_local.errors import InvalidRequestError
from vllm_local.structured_output.budget import Budget, set_bits
from vllm_local.structured_output.tokenizer_bridge import TokenizerBridge


class TokenGrammar:
    """Says which tokens may come next, and keeps room for the end of the answer.

    One thread at a time.
    """

    def __init__(self, matcher: LLMatcher, bridge: TokenizerBridge, budget: Budget, parameter: str) -> None:
        """Takes over a matcher and a budget that nobody else uses.

        Args:
            matcher: At the beginning of the answer.
            bridge: The model's tokens.
            budget: Of the answer.
            parameter: Whose fault it is when the grammar becomes too complex on its way.
        """
        self._matcher = matcher
        self._bridge = bridge
        self._budget = budget
        self._parameter = parameter
        self._num_end_tokens = 0
        self._wanted: list[int] = []
        size = (bridge.ll_tokenizer.vocab_size + 31) // 32
        self._mask = np.zeros(size, dtype=np.int32)

    def fill_bitmask(self, bitmask: npt.NDArray[np.int32], row: int) -> None:
        """Writes the allowed next tokens to `bitmask[row]`, one bit a token, 32 to an int32.

        Raises:
            InvalidRequestError: The grammar takes too much work here.
        """
        target = bitmask[row]
        target[:] = 0
        only = self._bridge.eos_token_ids if self._must_end() else self._wanted
        if only:
            set_bits(target, only)
            return
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._check()
        width = min(len(target), len(self._mask))
        target[:width] = self._mask[:width]

    def accept(self, token_ids: Sequence[int]) -> bool:
        """Advances over the tokens; False, and no change, if they are not allowed."""
        text, num_end_tokens = self._split(token_ids)
        if self._matcher.validate_tokens(text) < len(text) or (self._num_end_tokens and text):
            return False
        if num_end_tokens and not self._accepts_end_after(text):
            return False
        self._wanted = []
        if text:
            self._budget.take(text)
            self._matcher.consume_tokens(text)
            self._check()
        self._num_end_tokens += num_end_tokens
        return True

    def forced_tokens(self) -> list[int]:
        """Returns the run of tokens that is the only way on, or an empty list."""
        if self._must_end():
            return list(self._bridge.eos_token_ids[:1]) if not self._num_end_tokens else []
        way = self._budget.forced_way(self._matcher)
        if way is not None:
            return list(way)
        forced = [int(token_id) for token_id in self._matcher.compute_ff_tokens()]
        self._check()
        return forced if not forced or self._budget.fits(self._matcher, forced) else []

    def fitting(self, token_ids: Sequence[int]) -> list[int]:
        """Returns sampled tokens, or the token to take instead where they leave no room for the end of the answer.

        The latter is then the only one that is allowed, until tokens are accepted.
        """
        text, num_end_tokens = self._split(token_ids)
        is_settled = not text or num_end_tokens > 0 or self._must_end()
        if is_settled or self._matcher.validate_tokens(text) < len(text) or self._budget.fits(self._matcher, text):
            return list(token_ids)
        way = self._budget.way(self._matcher)
        if way is None:
            return list(token_ids)
        self._wanted = list(way[:1] or self._bridge.eos_token_ids[:1])
        return self._wanted or list(token_ids)

    def validate(self, token_ids: Sequence[int]) -> int:
        """Returns how many of the tokens the grammar would accept, without a change."""
        text, num_end_tokens = self._split(token_ids)
        if self._num_end_tokens:
            return 0 if text else num_end_tokens
        accepted = int(self._matcher.validate_tokens(text))
        if accepted == len(text) and num_end_tokens and self._accepts_end_after(text):
            return len(token_ids)
        return accepted

    def rollback(self, num_tokens: int) -> None:
        """Takes back the last tokens."""
        num_end_tokens = min(num_tokens, self._num_end_tokens)
        self._num_end_tokens -= num_end_tokens
        num_text = num_tokens - num_end_tokens
        self._wanted = []
        if num_text:
            self._matcher.rollback(num_text)
            self._budget.give_back(num_text)

    def is_terminated(self) -> bool:
        """Whether the constraint is fulfilled and nothing but an end token may follow."""
        return self._must_end()

    def is_fulfilled(self) -> bool:
        """Whether the answer may end here."""
        return bool(self._matcher.is_accepting())

    def _must_end(self) -> bool:
        return self._num_end_tokens > 0 or (self._matcher.is_stopped() and not self._matcher.is_error())

    def _accepts_end_after(self, text: list[int]) -> bool:
        if not text:
            return bool(self._matcher.is_accepting())
        behind = self._matcher.deep_copy()
        return bool(behind.consume_tokens(text) and behind.is_accepting())

    def _split(self, token_ids: Sequence[int]) -> tuple[list[int], int]:
        """Parts tokens into the answer's and the end tokens behind them."""
        ends = set(self._bridge.eos_token_ids)
        stop = next((i for i, token_id in enumerate(token_ids) if token_id in ends), len(token_ids))
        behind = token_ids[stop:]
        is_end = all(token_id in ends for token_id in behind)
        return (list(token_ids[:stop]), len(behind)) if is_end else (list(token_ids), 0)

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = " ".join(self._matcher.get_error().split())[:300]
            message = f"The grammar takes too much work at this place of the answer ({reason}); make it simpler."
            raise InvalidRequestError(message, parameter=self._parameter)
