"""The paged K and V of one layer, as the native library lays them out."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field

import torch

from vllm_local.config import KVCacheGroup
from vllm_local.kernels.cpu.library import dtype_code
from vllm_local.kernels.lazy_zeros import lazy_zeros

_TILE = 16
"""V heads are padded to a multiple of so many numbers; kTile of native/kv_cache.h."""


class KVCacheStructure(ctypes.Structure):
    """`KVCache` of native/api.h."""

    _fields_ = (
        ("k", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("block_size", ctypes.c_int64),
        ("num_kv_heads", ctypes.c_int64),
        ("head_size", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
    )


@dataclass(frozen=True, slots=True)
class NativeKVCache:
    """One layer's K and V; native/kv_cache.h says where each token's are.

    Attributes:
        k: [blocks, Hkv, block size · D].
        v: [blocks, Hkv, block size, D rounded up to a multiple of 16].
        structure: The same for the library.
        address: Where the structure is.
    """

    k: torch.Tensor
    v: torch.Tensor
    structure: KVCacheStructure
    address: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", ctypes.addressof(self.structure))

    @classmethod
    def allocate(cls, group: KVCacheGroup, *, num_blocks: int, block_size: int) -> list[NativeKVCache]:
        """Returns caches full of zeros, one a layer of the group.

        Memory is only reserved here, and taken page by page as blocks are written for the first time.
        """
        assert group.k_head_size == group.v_head_size, "K and V heads of different sizes"
        return [cls._allocate_layer(group, num_blocks, block_size) for _ in group.layers]

    @classmethod
    def _allocate_layer(cls, group: KVCacheGroup, num_blocks: int, block_size: int) -> NativeKVCache:
        dtype = getattr(torch, group.dtype)
        padded_size = -(-group.v_head_size // _TILE) * _TILE
        k = lazy_zeros((num_blocks, group.num_kv_heads, block_size * group.k_head_size), dtype)
        v = lazy_zeros((num_blocks, group.num_kv_heads, block_size, padded_size), dtype)
        structure = KVCacheStructure(
            k=k.data_ptr(),
            v=v.data_ptr(),
            block_size=block_size,
            num_kv_heads=group.num_kv_heads,
            head_size=group.k_head_size,
            dtype=dtype_code(dtype),
        )
        return cls(k, v, structure)
