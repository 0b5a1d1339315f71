"""The paged K and V of one layer, as the torch backend lays them out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from vllm_local.config import KVCacheGroup
from vllm_local.kernels.lazy_zeros import lazy_zeros


class GatherBuffers:
    """Memory that blocks are gathered into, shared by layers that never gather at the same time.

    Fresh memory each time would cost more than the copying: the system hands it out, and takes it back, page by page.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._buffers = [torch.empty(0, device=device, dtype=dtype) for _ in range(2)]

    def take(self, index: int, shape: tuple[int, ...]) -> torch.Tensor:
        """Returns the first (0) or the second (1) buffer in a shape; its contents are whatever was there."""
        size = math.prod(shape)
        if self._buffers[index].numel() < size:
            self._buffers[index] = self._buffers[index].new_empty(size)
        return self._buffers[index][:size].view(shape)


@dataclass(frozen=True, slots=True)
class TorchKVCache:
    """One layer's K and V.

    Heads come first, so that a block of one head is contiguous and gathered blocks need no transposed copy.

    Attributes:
        k: [Hkv, slots, D], slots = blocks · block size.
        v: [Hkv, slots, D].
        block_size: Tokens in a block.
        buffers: What `gather` fills.
    """

    k: torch.Tensor
    v: torch.Tensor
    block_size: int
    buffers: GatherBuffers

    @classmethod
    def allocate(
        cls, group: KVCacheGroup, *, num_blocks: int, block_size: int, device: torch.device
    ) -> list[TorchKVCache]:
        """Returns caches full of zeros, one a layer of the group.

        On the CPU memory is only reserved here, and taken page by page as blocks are written for the first time.
        """
        dtype = getattr(torch, group.dtype)
        buffers = GatherBuffers(device, dtype)

        def zeros(head_size: int) -> torch.Tensor:
            shape = (group.num_kv_heads, num_blocks * block_size, head_size)
            return lazy_zeros(shape, dtype) if device.type == "cpu" else torch.zeros(shape, device=device, dtype=dtype)

        return [cls(zeros(group.k_head_size), zeros(group.v_head_size), block_size, buffers) for _ in group.layers]

    def write(self, k: torch.Tensor, v: torch.Tensor, slots: torch.Tensor) -> None:
        """Puts K and V [T, Hkv, D] of the step's tokens into their slots [T] (int64).

        Infinities and NaN are made finite: masked positions are multiplied by zero, not skipped, so that one broken
        request would otherwise spoil whoever gets its blocks next.
        """
        self.k.index_copy_(1, slots, torch.nan_to_num(k.transpose(0, 1)))
        self.v.index_copy_(1, slots, torch.nan_to_num(v.transpose(0, 1)))

    def gather(self, blocks: torch.Tensor, heads: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns copies of K and V of whole blocks, valid until the next call (of any layer of the group).

        Args:
            blocks: [B, N], block ids.
            heads: Which K and V heads.

        Returns:
            Two tensors [heads, B, N · block size, D].
        """
        return self._gather(0, self.k, blocks, heads), self._gather(1, self.v, blocks, heads)

    def _gather(self, buffer: int, cache: torch.Tensor, blocks: torch.Tensor, heads: slice) -> torch.Tensor:
        head_size = cache.shape[-1]
        in_blocks = cache[heads].view(-1, cache.shape[1] // self.block_size, self.block_size * head_size)
        result = self.buffers.take(buffer, (in_blocks.shape[0], blocks.numel(), in_blocks.shape[2]))
        torch.index_select(in_blocks, 1, blocks.flatten(), out=result)
        return result.view(result.shape[0], blocks.shape[0], -1, head_size)
