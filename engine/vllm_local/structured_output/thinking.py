"""A limit on thoughts as a grammar: once they are long enough, what ends them is the only way on."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vllm_local.request import Grammar
from vllm_local.structured_output.budget import set_bits
from vllm_local.structured_output.tokenizer_bridge import TokenizerBridge
from vllm_local.thinking_budget import ThinkingBudget

_BLANKS = " \t\r\n"
_EVERYTHING = np.int32(-1)


class ThinkingGrammar:
    """Lets a model think for so many tokens, then writes the end of its thoughts; another grammar may rule besides.

    One thread at a time.
    """

    def __init__(self, budget: ThinkingBudget, bridge: TokenizerBridge, inner: Grammar | None = None) -> None:
        """Starts at the beginning of an answer.

        Args:
            budget: How long, and what ends it.
            bridge: The model's tokens.
            inner: What else the answer must look like; thoughts that end in any way are among it.
        """
        self._budget = budget
        self._bridge = bridge
        self._inner = inner
        self._closing = bridge.tokenize(budget.closing.encode(), parse_special=True)
        self._tokens: list[int] = []
        self._restart()

    def fill_bitmask(self, bitmask: npt.NDArray[np.int32], row: int) -> None:
        """Writes the allowed next tokens to `bitmask[row]`, one bit a token, 32 to an int32."""
        closing = self._rest_of_closing()
        if closing:
            bitmask[row] = 0
            set_bits(bitmask[row], closing[:1])
        elif self._inner is not None:
            self._inner.fill_bitmask(bitmask, row)
        else:
            bitmask[row] = _EVERYTHING

    def accept(self, token_ids: Sequence[int]) -> bool:
        """Advances over the tokens; False, and no change, if they are not allowed."""
        if self.validate(token_ids) < len(token_ids):
            return False
        if self._inner is not None and not self._inner.accept(token_ids):
            return False
        for token_id in token_ids:
            self._follow(token_id)
        return True

    def forced_tokens(self) -> list[int]:
        """Returns the run of tokens that is the only way on, or an empty list."""
        closing = self._rest_of_closing()
        if closing:
            return closing
        return [] if self._inner is None else self._inner.forced_tokens()

    def fitting(self, token_ids: Sequence[int]) -> list[int]:
        """Returns sampled tokens, or the token to take instead where they leave no room for the end of the answer."""
        if self._inner is None or self._rest_of_closing():
            return list(token_ids)
        return self._inner.fitting(token_ids)

    def validate(self, token_ids: Sequence[int]) -> int:
        """Returns how many of the tokens would be accepted, without a change."""
        count = len(token_ids) if self._inner is None else self._inner.validate(token_ids)
        closing = self._rest_of_closing()
        for index, (token_id, wanted) in enumerate(zip(token_ids, closing, strict=False)):
            if token_id != wanted:
                return min(count, index)
        return count

    def rollback(self, num_tokens: int) -> None:
        """Takes back the last tokens."""
        if num_tokens == 0:
            return
        if self._inner is not None:
            self._inner.rollback(num_tokens)
        kept = self._tokens[:-num_tokens]
        self._restart()
        for token_id in kept:
            self._follow(token_id)

    def is_terminated(self) -> bool:
        """Whether nothing but an end token may follow."""
        return self._inner is not None and not self._rest_of_closing() and self._inner.is_terminated()

    def _restart(self) -> None:
        self._tokens = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._has_begun = not self._budget.starts
        self._is_over = False
        self._num_thoughts = 0
        self._num_closed = 0

    def _rest_of_closing(self) -> list[int]:
        """Returns what is left to write of the end of the thoughts; nothing in the middle of a character."""
        if not self._has_begun or self._num_closed == len(self._closing):
            return []
        if self._num_closed:
            return self._closing[self._num_closed :]
        is_due = not self._is_over and self._num_thoughts >= self._budget.max_tokens
        if not is_due or self._decoder.getstate()[0]:
            return []
        fits = self._inner is None or self._inner.validate(self._closing) == len(self._closing)
        return self._closing if fits else []

    def _follow(self, token_id: int) -> None:
        if self._rest_of_closing()[:1] == [token_id]:
            self._num_closed += 1
            self._is_over = True
        self._tokens.append(token_id)
        if self._is_over:
            return
        self._text += self._decoder.decode(self._bridge.bytes_of([token_id]))
        if not self._has_begun:
            self._look_for_start()
            return
        self._num_thoughts += 1
        self._is_over = self._budget.end in self._text
        self._text = self._text[-len(self._budget.end) :]

    def _look_for_start(self) -> None:
        """Decides whether the model thinks at all: that is what an answer begins with, or not."""
        text = self._text.lstrip(_BLANKS)
        for start in self._budget.starts:
            if text.startswith(start):
                self._has_begun, self._text = True, text[len(start) :]
                return
        self._is_over = not any(start.startswith(text) for start in self._budget.starts)
