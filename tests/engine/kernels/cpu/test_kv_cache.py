"""How much memory the native cache takes, and when."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vllm_local.config import KVCacheConfig, KVCacheGroup
from vllm_local.kernels.cpu.kv_cache import NativeKVCache


def make_group(*layers: int, dtype: str = "float32", head_size: int = 16) -> KVCacheGroup:
    return KVCacheGroup(layers=layers, num_kv_heads=2, k_head_size=head_size, v_head_size=head_size, dtype=dtype)


def test_one_cache_a_layer_of_the_promised_size():
    config = KVCacheConfig(num_blocks=6, block_size=4, groups=(make_group(0, 2, dtype="bfloat16"),))
    caches = NativeKVCache.allocate(config.groups[0], num_blocks=6, block_size=4)
    assert [cache.k.dtype for cache in caches] == [torch.bfloat16] * 2
    assert sum(cache.k.nbytes + cache.v.nbytes for cache in caches) == config.memory_bytes


def test_values_of_odd_heads_are_padded():
    (cache,) = NativeKVCache.allocate(make_group(0, head_size=5), num_blocks=6, block_size=4)
    assert cache.k.shape == (6, 2, 4 * 5)
    assert cache.v.shape == (6, 2, 4, 16)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_taken_as_blocks_are_written():
    group = make_group(0, 1)
    before = resident_bytes()
    caches = NativeKVCache.allocate(group, num_blocks=2**14, block_size=16)
    promised = sum(cache.k.nbytes + cache.v.nbytes for cache in caches)
    for cache in caches:
        cache.k[0] = cache.v[0] = 1
    assert promised >= 24 * 2**20
    assert resident_bytes() - before < promised / 10
    for cache in caches:
        cache.k.fill_(1)
        cache.v.fill_(1)
    assert resident_bytes() - before > promised * 0.9, "the ruler works"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_heads_of_two_sizes_are_no_layout_of_ours():
    with pytest.raises(AssertionError):
        NativeKVCache.allocate(replace(make_group(0), v_head_size=8), num_blocks=6, block_size=4)
