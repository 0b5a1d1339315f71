"""Causal attention for training on a processor, with its gradient.

torch's own kernel takes twice as long on short rows: it works in small tiles, these are a few large multiplications.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_QUERIES = 128


def causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return scaled dot-product attention of every position to itself and to those before it, [B, heads, T, D].

    Args:
        query: [B, heads, T, D].
        key: The same shape.
        value: The same shape.

    Example:
        >>> rows = [torch.randn(2, 4, 24, 64) for _ in range(3)]
        >>> causal_attention(*rows).shape
        torch.Size([2, 4, 24, 64])
    """
    result: Tensor = _CausalAttention.apply(query, key, value)  # type: ignore[no-untyped-call]
    return result


class _CausalAttention(torch.autograd.Function):
    """The attention and its gradient.

    Queries are taken ``_QUERIES`` at a time, each time with the keys up to the last of them, so that little is computed
    and masked. The probabilities are kept for the gradient, which for scores ``S``, probabilities ``P`` and outputs
    ``O = P V`` is ``dV = P^T dO``, ``dS = P * (dP - sum(dP * P))`` with ``dP = dO V^T``, ``dQ = dS K`` and
    ``dK = dS^T Q``.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the outputs, [B, heads, T, D], for queries, keys and values of that shape."""
        length, ctx.scale = query.shape[2], query.shape[3] ** -0.5
        query = query * ctx.scale
        future = torch.ones(_QUERIES, _QUERIES, dtype=torch.bool).triu(1)
        outputs, probabilities = [], []
        for start, end in _parts(length):
            scores = query[:, :, start:end] @ key[:, :, :end].transpose(-1, -2)
            scores[..., start:].masked_fill_(future[: end - start, : end - start], float("-inf"))
            probabilities.append(scores.softmax(-1))
            outputs.append(probabilities[-1] @ value[:, :, :end])
        ctx.save_for_backward(query, key, value, *probabilities)
        return torch.cat(outputs, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of queries, keys and values; those of keys and values are summed in fp32."""
        query, key, value, *probabilities = ctx.saved_tensors
        of_queries = []
        of_keys, of_values = (torch.zeros(key.shape, dtype=torch.float32) for _ in range(2))
        for (start, end), chosen in zip(_parts(query.shape[2]), probabilities, strict=True):
            of_output = gradients[0][:, :, start:end]
            of_values[:, :, :end] += chosen.transpose(-1, -2) @ of_output
            of_chosen = of_output @ value[:, :, :end].transpose(-1, -2)
            # One pass over the scores; the same in torch's public functions takes three.
            of_scores = torch._softmax_backward_data(of_chosen, chosen, -1, chosen.dtype)  # noqa: SLF001
            of_queries.append((of_scores @ key[:, :, :end]) * ctx.scale)
            of_keys[:, :, :end] += of_scores.transpose(-1, -2) @ query[:, :, start:end]
        return torch.cat(of_queries, 2), of_keys.to(key.dtype), of_values.to(value.dtype)


def _parts(length: int) -> list[tuple[int, int]]:
    return [(start, min(length, start + _QUERIES)) for start in range(0, length, _QUERIES)]
