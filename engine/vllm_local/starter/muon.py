"""Muon, the optimizer of the matrices, in a number format that the processor multiplies fast."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_SMALLEST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal by Newton-Schulz iterations.

    The same as `torch.optim.Muon`, which iterates in bf16 whatever the processor: without bf16 products that takes as
    long as the gradient. Source: https://kellerjordan.github.io/posts/muon/.

    Args:
        parameters: Matrices.
        lr: Learning rate; a matrix with more rows than columns takes sqrt(rows / columns) of it.
        dtype: What the iterations compute in.
        momentum: Of Nesterov's kind.
        weight_decay: Times the learning rate, what the weights lose at each step.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        dtype: torch.dtype,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one step with the gradients."""
        assert closure is None, "no closure is needed"
        for group in self.param_groups:
            for parameter in group["params"]:
                self._update(parameter, **{name: group[name] for name in ("lr", "momentum", "weight_decay")})

    def _update(self, parameter: Tensor, lr: float, momentum: float, weight_decay: float) -> None:
        gradient = parameter.grad
        assert gradient is not None, "every matrix has a gradient"
        state = self.state[parameter]
        average = state.setdefault("momentum_buffer", torch.zeros_like(gradient))
        average.lerp_(gradient, 1 - momentum)
        update = orthogonal(gradient.lerp(average, momentum).to(self._dtype))
        rows, columns = parameter.shape
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(update, alpha=-lr * math.sqrt(max(1.0, rows / columns)))


def orthogonal(matrix: Tensor) -> Tensor:
    """Return nearly the orthogonal matrix nearest to a matrix [rows, columns]: its singular values become about 1."""
    rows, columns = matrix.shape
    wide = matrix.T if rows > columns else matrix
    wide = wide / wide.norm().clamp(min=_SMALLEST_NORM)
    first, third, fifth = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = wide @ wide.T
        polynomial = torch.addmm(gram, gram, gram, beta=third, alpha=fifth)
        wide = torch.addmm(wide, polynomial, wide, beta=first)
    return wide.T if rows > columns else wide
