"""Rotation, KV write and paged attention of one layer, in torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from vllm_local.kernels.interface import AttentionSpec
from vllm_local.kernels.torch_ref.kv_cache import TorchKVCache
from vllm_local.kernels.torch_ref.step import QueryGroup, TorchStep

GATHER_BYTES = 8 * 2**20
"""Most bytes of K that are gathered at a time: what a CPU's cache holds, and no surprise on long contexts."""


@dataclass(frozen=True, slots=True)
class TorchAttention:
    """One layer's attention.

    Attributes:
        spec: Its numbers.
        frequencies: [D / 2] float32, or None; one object for all layers that rotate alike.
        slopes: ALiBi's, [1, Hq, 1, 1] float32, or None; the same.
        head_norm: [Hq + Hkv, D] float32, weights of the norm of every Q and K head, or None.
        norm_eps: That norm's.
    """

    spec: AttentionSpec
    frequencies: torch.Tensor | None
    slopes: torch.Tensor | None
    head_norm: torch.Tensor | None
    norm_eps: float

    def rotate_and_cache(self, qkv: torch.Tensor, step: TorchStep, kv_cache: TorchKVCache) -> torch.Tensor:
        """Writes K and V of [T, (Hq + 2 Hkv) · D] into the cache and returns the queries [T, Hq, D]."""
        spec = self.spec
        if spec.qkv_clip is not None:
            qkv.clamp_(-spec.qkv_clip, spec.qkv_clip)
        heads = qkv.view(len(qkv), -1, spec.head_size)
        rotated = self._normalise_and_rotate(heads[:, : spec.num_heads + spec.num_kv_heads], step)
        kv_cache.write(rotated[:, spec.num_heads :], heads[:, spec.num_heads + spec.num_kv_heads :], step.slots)
        return rotated[:, : spec.num_heads]

    def _normalise_and_rotate(self, heads: torch.Tensor, step: TorchStep) -> torch.Tensor:
        dtype = heads.dtype
        if self.head_norm is not None:
            heads = F.rms_norm(heads.float(), heads.shape[-1:], None, self.norm_eps) * self.head_norm
        if self.frequencies is not None:
            heads = rotate(heads.float(), *step.rotation(self.frequencies, self.spec.rotary_scale))
        return heads.to(dtype)

    def attend(self, queries: torch.Tensor, step: TorchStep, kv_cache: TorchKVCache) -> torch.Tensor:
        """Returns [T, Hq · D] for queries [T, Hq, D]."""
        result = torch.empty_like(queries, memory_format=torch.contiguous_format)
        for group in step.groups:
            result[group.tokens] = self._attend_group(queries[group.tokens], group, kv_cache)
        return result.view(len(result), -1)

    def _attend_group(self, queries: torch.Tensor, group: QueryGroup, kv_cache: TorchKVCache) -> torch.Tensor:
        """Returns [group's tokens, Hq, D] for queries of the same shape, some K and V heads at a time."""
        repeats = self.spec.num_heads // self.spec.num_kv_heads
        bias = group.bias(self.slopes, self.spec.sliding_window, _bias_dtype(queries))
        attend = _attend_rows if group.queries_per_request == 1 else _attend_chunk
        parts = []
        for kv_heads in self._head_slices(group, kv_cache):
            heads = slice(kv_heads.start * repeats, kv_heads.stop * repeats)
            part_bias = bias if bias is None or bias.shape[1] == 1 else bias[:, heads]
            k, v = (part[:, :, : group.num_keys] for part in kv_cache.gather(group.blocks, kv_heads))
            parts.append(attend(queries[:, heads], k, v, part_bias, self.spec.softmax_scale))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _head_slices(self, group: QueryGroup, kv_cache: TorchKVCache) -> Iterator[slice]:
        """Cuts the K and V heads so that no more than `GATHER_BYTES` of K are gathered at a time."""
        num_heads, _, head_size = kv_cache.k.shape
        head_bytes = group.blocks.numel() * kv_cache.block_size * head_size * kv_cache.k.element_size()
        at_once = max(1, GATHER_BYTES // head_bytes) if kv_cache.k.device.type == "cpu" else num_heads
        for start in range(0, num_heads, at_once):
            yield slice(start, min(start + at_once, num_heads))


# Both forms below keep the scores in float32 inside `scaled_dot_product_attention`. A product of bf16 matrices would
# round them to 8 bits, which models with large key biases (Qwen2) do not survive. `enable_gqa` is ten times slower
# on the CPU.


def _attend_rows(
    queries: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Attends with one query a request; the query heads that share a K and V head are its rows.

    Args:
        queries: [B, Hq, D].
        k: [Hkv, B, keys, D].
        v: The same.
        bias: [B, 1 or Hq, 1, keys], or None.
        scale: What the products are multiplied by.

    Returns:
        [B, Hq, D].
    """
    rows = queries.unflatten(1, (len(k), -1))  # [B, Hkv, Hq / Hkv, D]
    if bias is not None and bias.shape[1] > 1:
        bias = bias.view(*rows.shape[:3], -1)
    result = F.scaled_dot_product_attention(rows, k.transpose(0, 1), v.transpose(0, 1), attn_mask=bias, scale=scale)
    return result.flatten(1, 2)


def _attend_chunk(
    queries: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Attends with many queries of one request; K and V heads are repeated without a copy.

    Args:
        queries: [Q, Hq, D].
        k: [Hkv, 1, keys, D].
        v: The same.
        bias: [1, 1 or Hq, Q, keys], or None.
        scale: What the products are multiplied by.

    Returns:
        [Q, Hq, D].
    """
    rows = queries.transpose(0, 1).unflatten(0, (len(k), -1))  # [Hkv, Hq / Hkv, Q, D]
    if bias is not None and bias.shape[1] > 1:
        bias = bias.view(*rows.shape[:3], -1)
    k, v = (part.expand(-1, rows.shape[1], -1, -1) for part in (k, v))
    result = F.scaled_dot_product_attention(rows, k, v, attn_mask=bias, scale=scale)
    return result.flatten(0, 1).transpose(0, 1)


def rotate(heads: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotates the pairs (i, i + D / 2) of every head (RoPE, https://arxiv.org/abs/2104.09864, as Llama pairs them).

    Args:
        heads: [T, heads, D].
        cosine: [T, 1, D / 2].
        sine: [T, 1, D / 2].

    Returns:
        [T, heads, D], a new tensor.
    """
    first, second = heads.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


def _bias_dtype(queries: torch.Tensor) -> torch.dtype:
    # On the CPU a float32 bias goes with any queries; elsewhere the two must agree.
    return torch.float32 if queries.device.type == "cpu" else queries.dtype
