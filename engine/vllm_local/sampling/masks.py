"""Steps that forbid or favour tokens before anything is drawn. Each changes logits [R, V] in place, sparsely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from vllm_local.sampling_params import SamplingParams

_BITS_PER_WORD = 32


@dataclass(frozen=True, eq=False)
class TokenBias:
    """Logit biases of all rows, one entry a biased token.

    Attributes:
        rows: Row of each entry [e].
        token_ids: Token of each entry [e].
        values: What is added [e].
    """

    rows: torch.Tensor
    token_ids: torch.Tensor
    values: torch.Tensor

    @classmethod
    def build(cls, params: Sequence[SamplingParams], device: torch.device) -> TokenBias | None:
        """Collects the biases of the rows' parameters; None where there are none."""
        entries = [(row, *bias) for row, item in enumerate(params) for bias in item.logit_bias.items()]
        if not entries:
            return None
        rows, token_ids, values = zip(*entries, strict=True)
        return cls(
            rows=torch.tensor(rows, device=device),
            token_ids=torch.tensor(token_ids, device=device),
            values=torch.tensor(values, dtype=torch.float32, device=device),
        )


def apply_bias(logits: torch.Tensor, bias: TokenBias | None) -> None:
    """Adds each bias to its token's logit."""
    if bias is not None:
        logits[bias.rows, bias.token_ids] += bias.values


def allow_only(logits: torch.Tensor, row: int, token_ids: torch.Tensor) -> None:
    """Forbids every token of a row but the given ones [n]."""
    allowed = logits[row, token_ids]
    logits[row].fill_(-torch.inf)
    logits[row, token_ids] = allowed


def forbid(logits: torch.Tensor, row: int, token_ids: torch.Tensor) -> None:
    """Forbids the given tokens [n] of a row."""
    logits[row, token_ids] = -torch.inf


def apply_bitmask(logits: torch.Tensor, bitmask: npt.NDArray[np.int32]) -> None:
    """Forbids the tokens whose bit is not set.

    Args:
        logits: Logits [R, V], changed in place.
        bitmask: One row a row of logits [R, ceil(n / 32)] with n of at most V tokens; bit i of word w is token
            32·w + i (the layout of llguidance and xgrammar). Tokens beyond its width are forbidden in rows that
            forbid anything at all.
    """
    constrained = np.flatnonzero((bitmask != -1).any(axis=1))
    if not len(constrained):
        return
    words = np.ascontiguousarray(bitmask[constrained]).astype("<i4", copy=False)
    bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
    width = min(logits.shape[1], bitmask.shape[1] * _BITS_PER_WORD)
    forbidden = np.ones((len(constrained), logits.shape[1]), dtype=np.bool_)
    forbidden[:, :width] = bits[:, :width] == 0
    mask = torch.from_numpy(forbidden).to(logits.device)
    rows = torch.from_numpy(constrained).to(logits.device)
    logits[rows] = logits[rows].masked_fill_(mask, -torch.inf)
