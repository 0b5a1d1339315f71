"""Positions of prompts whose following token is to be described."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

MAX_PROMPT_ROWS = 64
"""Rows of logits computed at a time: 40 MB for a vocabulary of 152,000, where a step of 2,048 would take 1.2 GB."""


@dataclass(frozen=True, eq=False)
class PromptRows:
    """N positions of a step, those of a request side by side.

    Attributes:
        request_ids: Whose each is [N].
        indices: Its index among the step's T tokens [N].
        token_ids: The token that follows it in the prompt [N].
        num_top_logprobs: How many alternatives are listed with that token [N].
    """

    request_ids: list[str]
    indices: IntArray
    token_ids: IntArray
    num_top_logprobs: IntArray

    @classmethod
    def join(cls, parts: list[PromptRows]) -> PromptRows:
        """Returns the rows of several requests as one."""
        return cls(
            request_ids=[request_id for part in parts for request_id in part.request_ids],
            indices=np.concatenate([part.indices for part in parts]),
            token_ids=np.concatenate([part.token_ids for part in parts]),
            num_top_logprobs=np.concatenate([part.num_top_logprobs for part in parts]),
        )

    def slices(self) -> Iterator[PromptRows]:
        """Yields the rows, `MAX_PROMPT_ROWS` at a time."""
        for start in range(0, len(self.request_ids), MAX_PROMPT_ROWS):
            part = slice(start, start + MAX_PROMPT_ROWS)
            yield PromptRows(
                self.request_ids[part], self.indices[part], self.token_ids[part], self.num_top_logprobs[part]
            )
