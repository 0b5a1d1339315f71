"""The paged K and V of one layer, as the torch backend lays them out."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vllm_local.config import KVCacheGroup


@dataclass(frozen=True, slots=True)
class TorchKVCache:
    """One layer's K and V.

    Heads come first, so that a block of one head is contiguous and gathered blocks need no transposed copy.

    Attributes:
        k: [Hkv, slots, D], slots = blocks · block size.
        v: [Hkv, slots, D].
        block_size: Tokens in a block.
    """

    k: torch.Tensor
    v: torch.Tensor
    block_size: int

    @classmethod
    def allocate(
        cls, group: KVCacheGroup, *, num_blocks: int, block_size: int, device: torch.device, dtype: torch.dtype
    ) -> TorchKVCache:
        """Returns an empty cache. On the CPU the system hands out its memory page by page, at first use."""
        slots = num_blocks * block_size
        k = torch.zeros((group.num_kv_heads, slots, group.k_head_size), device=device, dtype=dtype)
        v = torch.zeros((group.num_kv_heads, slots, group.v_head_size), device=device, dtype=dtype)
        return cls(k, v, block_size)

    def write(self, k: torch.Tensor, v: torch.Tensor, slots: torch.Tensor) -> None:
        """Puts K and V [T, Hkv, D] of the step's tokens into their slots [T] (int64).

        Infinities and NaN are made finite: masked positions are multiplied by zero, not skipped, so that one broken
        request would otherwise spoil whoever gets its blocks next.
        """
        self.k.index_copy_(1, slots, torch.nan_to_num(k.transpose(0, 1)))
        self.v.index_copy_(1, slots, torch.nan_to_num(v.transpose(0, 1)))

    def gather(self, blocks: torch.Tensor, heads: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns copies of K and V of whole blocks.

        Args:
            blocks: [B, N], block ids.
            heads: Which K and V heads.

        Returns:
            Two tensors [heads, B, N · block size, D].
        """
        return self._gather(self.k, blocks, heads), self._gather(self.v, blocks, heads)

    def _gather(self, cache: torch.Tensor, blocks: torch.Tensor, heads: slice) -> torch.Tensor:
        head_size = cache.shape[-1]
        in_blocks = cache[heads].view(-1, cache.shape[1] // self.block_size, self.block_size * head_size)
        gathered = in_blocks.index_select(1, blocks.flatten())
        return gathered.view(len(in_blocks), len(blocks), -1, head_size)
