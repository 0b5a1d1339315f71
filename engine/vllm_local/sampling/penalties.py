"""Penalties on tokens that a request has already seen. They touch those tokens only, never the whole vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from vllm_local.sampling_params import SamplingParams


class TokenCounts:
    """The distinct tokens of one request and how often each is in its answer, kept up to date token by token."""

    __slots__ = ("_counts", "_index", "_token_ids")

    def __init__(self, prompt_token_ids: Iterable[int], output_token_ids: Iterable[int]) -> None:
        """Counts what is there.

        Args:
            prompt_token_ids: The prompt's tokens, or nothing where no repetition penalty looks at them.
            output_token_ids: The answer's tokens so far.
        """
        self._index: dict[int, int] = {}
        self._token_ids = np.empty(64, dtype=np.int64)
        self._counts = np.zeros(64, dtype=np.float32)
        for token_id in prompt_token_ids:
            self._position(token_id)
        self.append(output_token_ids)

    def append(self, token_ids: Iterable[int]) -> None:
        """Counts further tokens of the answer."""
        for token_id in token_ids:
            position = self._position(token_id)  # May replace the arrays.
            self._counts[position] += 1.0

    @property
    def token_ids(self) -> npt.NDArray[np.int64]:
        """The distinct tokens [n], in order of appearance."""
        return self._token_ids[: len(self._index)]

    @property
    def counts(self) -> npt.NDArray[np.float32]:
        """How often each of them is in the answer [n]; 0 for tokens that only the prompt holds."""
        return self._counts[: len(self._index)]

    def _position(self, token_id: int) -> int:
        position = self._index.get(token_id)
        if position is None:
            position = self._index[token_id] = len(self._index)
            if position == len(self._token_ids):
                self._token_ids = np.concatenate((self._token_ids, np.empty_like(self._token_ids)))
                self._counts = np.concatenate((self._counts, np.zeros_like(self._counts)))
            self._token_ids[position] = token_id
        return position


def needs_counts(params: SamplingParams) -> bool:
    """Whether a request has any penalty."""
    return bool(params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1.0)


@dataclass(frozen=True, eq=False)
class PenaltyRows:
    """The rows that have penalties.

    Attributes:
        rows: Their indices [p].
        counts: Their tokens, one entry a row; live, so that nothing is counted anew each step.
        strengths: Repetition, frequency and presence penalty of each [p, 3].
    """

    rows: npt.NDArray[np.int64]
    counts: tuple[TokenCounts, ...]
    strengths: npt.NDArray[np.float32]

    @classmethod
    def build(cls, rows: Sequence[tuple[int, SamplingParams, TokenCounts]]) -> PenaltyRows:
        """Collects (row index, parameters, counts) of the rows that have penalties."""
        strengths = [(item.repetition_penalty, item.frequency_penalty, item.presence_penalty) for _, item, _ in rows]
        return cls(
            rows=np.array([row for row, _, _ in rows], dtype=np.int64),
            counts=tuple(counts for _, _, counts in rows),
            strengths=np.array(strengths, dtype=np.float32).reshape(-1, 3),
        )


def apply_penalties(logits: torch.Tensor, penalised: PenaltyRows) -> None:
    """Changes logits [R, V] in place: repetition first, then frequency and presence, as vLLM does.

    Repetition (Keskar et al., "CTRL", 2019) divides positive and multiplies negative logits of tokens in prompt or
    answer; frequency and presence (OpenAI's API) are subtracted for tokens in the answer.
    """
    if not penalised.counts:
        return
    lengths = [len(counts.token_ids) for counts in penalised.counts]
    rows = torch.from_numpy(np.repeat(penalised.rows, lengths)).to(logits.device)
    token_ids = torch.from_numpy(np.concatenate([item.token_ids for item in penalised.counts])).to(logits.device)
    counts = torch.from_numpy(np.concatenate([item.counts for item in penalised.counts])).to(logits.device)
    strengths = torch.from_numpy(np.repeat(penalised.strengths, lengths, axis=0)).to(logits.device)
    repetition, frequency, presence = strengths.unbind(1)
    values = logits[rows, token_ids]
    values = torch.where(values > 0, values / repetition, values * repetition)
    logits[rows, token_ids] = values - frequency * counts - presence * (counts > 0)
