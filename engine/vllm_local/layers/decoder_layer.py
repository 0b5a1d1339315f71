"""One decoder layer: eight kernel calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from vllm_local.kernels.interface import (
        Kernels,
        KVCache,
        PackedAttention,
        PackedLinear,
        PackedNorm,
        Step,
    )
    from vllm_local.layers.feed_forward import FeedForward


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderLayer:
    """A pre-norm layer on packed weights: attention, then a feed-forward network, each added to the residual stream.

    Attributes:
        attention_norm: Before attention.
        qkv: Q, K and V side by side, (Hq + 2 Hkv) · D outputs.
        attention: Heads, scale and position encoding.
        out: Attention's output projection.
        mlp_norm: Before the feed-forward network.
        mlp: That network.
    """

    attention_norm: PackedNorm
    qkv: PackedLinear
    attention: PackedAttention
    out: PackedLinear
    mlp_norm: PackedNorm
    mlp: FeedForward

    def forward(self, kernels: Kernels, residual: torch.Tensor, step: Step, kv_cache: KVCache) -> None:
        """Updates the residual stream [T, H] in place, and this layer's K and V of the step's tokens."""
        qkv = kernels.linear(kernels.norm(residual, self.attention_norm), self.qkv)
        queries = kernels.rotate_and_cache(qkv, self.attention, step, kv_cache)
        kernels.linear_add(kernels.attend(queries, self.attention, step, kv_cache), self.out, residual)
        self.mlp.add_to(residual, kernels.norm(residual, self.mlp_norm), kernels)
