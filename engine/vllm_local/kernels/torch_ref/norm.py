"""Norms of the torch backend, computed in float32."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class RmsNorm:
    """Root-mean-square norm (Zhang and Sennrich, 2019, https://arxiv.org/abs/1910.07467).

    Attributes:
        weight: [H] float32.
        eps: Added to the mean square.
    """

    weight: torch.Tensor
    eps: float

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns float32 rows [T, H] normalised over their last dimension."""
        return F.rms_norm(rows, self.weight.shape, self.weight, self.eps)


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Layer norm, with or without a bias.

    Attributes:
        weight: [H] float32.
        bias: [H] float32, or None.
        eps: Added to the variance.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    eps: float

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns float32 rows [T, H] normalised over their last dimension."""
        return F.layer_norm(rows, self.weight.shape, self.weight, self.bias, self.eps)
