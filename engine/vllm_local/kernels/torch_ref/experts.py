"""Mixtures of experts in torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from vllm_local.kernels.interface import PackedLinear


@dataclass(frozen=True, slots=True)
class TorchExpert:
    """One expert.

    Attributes:
        up: Gate and up, with activation.
        down: Its second half.
    """

    up: PackedLinear
    down: PackedLinear


@dataclass(frozen=True, slots=True)
class Choices:
    """The rows that chose one expert.

    Attributes:
        rows: Their indices [N].
        weights: [N] float32.
    """

    rows: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True, slots=True)
class TorchRoutes:
    """Which experts rows go to.

    Attributes:
        experts: [T, K], those with the largest logits, the largest first.
        weights: [T, K] float32.
    """

    experts: torch.Tensor
    weights: torch.Tensor

    def by_expert(self, num_experts: int) -> Iterator[tuple[int, Choices]]:
        """Yields every expert that some row chose, with its rows."""
        for expert in range(num_experts):
            rows, choices = torch.where(self.experts == expert)
            if len(rows):
                yield expert, Choices(rows, self.weights[rows, choices])


@dataclass(frozen=True, slots=True)
class TorchRouter:
    """Chooses experts (Shazeer et al., 2017, https://arxiv.org/abs/1701.06538).

    Attributes:
        weight: [E, H] float32.
        top_k: Experts a row (K).
        normalises: The weights are the softmax over the K largest logits; else that over all.
    """

    weight: torch.Tensor
    top_k: int
    normalises: bool

    def __call__(self, rows: torch.Tensor) -> TorchRoutes:
        """Routes rows [T, H]."""
        logits = F.linear(rows.float(), self.weight)
        chosen = logits.topk(self.top_k)
        if self.normalises:
            return TorchRoutes(chosen.indices, chosen.values.softmax(dim=-1))
        return TorchRoutes(chosen.indices, (chosen.values - logits.logsumexp(dim=-1, keepdim=True)).exp())
