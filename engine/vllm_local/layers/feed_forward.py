"""Feed-forward networks of a decoder layer: dense, or a mixture of experts. Two kernel calls each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from vllm_local.kernels.interface import Kernels, PackedExperts, PackedLinear, PackedRouter


class FeedForward(Protocol):
    """A feed-forward network on packed weights."""

    def add_to(self, residual: torch.Tensor, rows: torch.Tensor, kernels: Kernels) -> None:
        """Adds the network's results for normalised rows [T, H] to the residual stream [T, H] in place."""


@dataclass(frozen=True, slots=True)
class DenseNetwork:
    """Every token goes through the same weights.

    Attributes:
        up: First half, with activation.
        down: Second half.
    """

    up: PackedLinear
    down: PackedLinear

    def add_to(self, residual: torch.Tensor, rows: torch.Tensor, kernels: Kernels) -> None:
        """Adds down(activation(gate) · up)."""
        kernels.linear_add(kernels.activated_linear(rows, self.up), self.down, residual)


@dataclass(frozen=True, slots=True)
class ExpertMixture:
    """Every token goes through a few of many experts (Shazeer et al., 2017, https://arxiv.org/abs/1701.06538).

    Attributes:
        router: Chooses and weighs them.
        experts: Each of them a small dense network.
    """

    router: PackedRouter
    experts: PackedExperts

    def add_to(self, residual: torch.Tensor, rows: torch.Tensor, kernels: Kernels) -> None:
        """Adds the weighed sum of each token's experts."""
        kernels.experts_add(rows, kernels.route(rows, self.router), self.experts, residual)
