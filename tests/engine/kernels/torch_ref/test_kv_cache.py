"""What is written into blocks comes back when they are gathered."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vllm_local.config import KVCacheConfig, KVCacheGroup
from vllm_local.kernels.torch_ref import TorchKernels
from vllm_local.kernels.torch_ref.kv_cache import TorchKVCache


def make_group(*layers: int, dtype: str = "float32") -> KVCacheGroup:
    return KVCacheGroup(layers=layers, num_kv_heads=2, k_head_size=3, v_head_size=3, dtype=dtype)


def make_cache() -> TorchKVCache:
    kernels = TorchKernels("cpu", torch.float32)
    (cache,) = kernels.allocate_kv_cache(KVCacheConfig(num_blocks=6, block_size=4, groups=(make_group(0),)))
    return cache


def test_one_cache_a_layer_of_the_promised_size():
    groups = (make_group(0, 2), make_group(1, dtype="bfloat16"))
    config = KVCacheConfig(num_blocks=6, block_size=4, groups=groups)
    caches = TorchKernels("cpu", torch.float32).allocate_kv_cache(config)
    assert [cache.k.dtype for cache in caches] == [torch.float32, torch.bfloat16, torch.float32]
    assert sum(cache.k.nbytes + cache.v.nbytes for cache in caches) == config.memory_bytes


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def write_first_block(caches: list[TorchKVCache]) -> None:
    for cache in caches:
        ones = torch.ones(16, 2, 3, dtype=cache.k.dtype)
        cache.write(ones, ones, torch.arange(16))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_memory_is_taken_as_blocks_are_written(dtype):
    """Of one page a head at first: a request of a few tokens costs next to nothing."""
    config = KVCacheConfig(num_blocks=2**15, block_size=16, groups=(make_group(0, 1, dtype=dtype),))
    kernels = TorchKernels("cpu", getattr(torch, dtype))
    write_first_block(kernels.allocate_kv_cache(replace(config, num_blocks=1)))
    before = resident_bytes()
    caches = kernels.allocate_kv_cache(config)
    write_first_block(caches)
    for cache in caches:
        assert cache.v[:, :16].eq(1).all()
        assert not cache.gather(torch.tensor([[1, 2**15 - 1]]), slice(0, 2))[1].any()
    assert config.memory_bytes >= 24 * 2**20
    assert resident_bytes() - before < config.memory_bytes / 10
    for cache in caches:
        cache.k.fill_(1)
        cache.v.fill_(1)
    assert resident_bytes() - before > config.memory_bytes * 0.9, "the ruler works"
    del caches, cache
    assert resident_bytes() - before < config.memory_bytes / 10, "closing gives it back"


def test_tokens_are_found_where_they_were_put():
    cache = make_cache()
    k, v = torch.randn(6, 2, 3), torch.randn(6, 2, 3)
    blocks = [5, 2]  # one request of six tokens
    slots = torch.tensor([blocks[p // 4] * 4 + p % 4 for p in range(6)])
    cache.write(k, v, slots)
    for heads in (slice(0, 2), slice(1, 2)):
        gathered_k, gathered_v = cache.gather(torch.tensor([[0, 1], blocks]), heads)
        assert gathered_k.shape == (heads.stop - heads.start, 2, 8, 3)
        assert torch.equal(gathered_k[:, 1, :6], k.transpose(0, 1)[heads])
        assert torch.equal(gathered_v[:, 1, :6], v.transpose(0, 1)[heads])
        assert not gathered_k[:, 0].any()


def test_nothing_infinite_is_kept():
    cache = make_cache()
    broken = torch.tensor([torch.nan, torch.inf, -torch.inf]).expand(1, 2, 3)
    cache.write(broken, broken, torch.tensor([0]))
    assert cache.k.isfinite().all()
    assert cache.v.isfinite().all()


def test_layers_of_a_group_share_what_they_gather_into():
    groups = (make_group(0, 2), make_group(1))
    caches = TorchKernels("cpu", torch.float32).allocate_kv_cache(
        KVCacheConfig(num_blocks=6, block_size=4, groups=groups)
    )
    assert caches[0].buffers is caches[2].buffers
    assert caches[0].buffers is not caches[1].buffers
    blocks = torch.tensor([[0, 1], [2, 3]])
    places = [caches[layer].gather(blocks, slice(0, 2))[0].data_ptr() for layer in (0, 2, 0)]
    assert len(set(places)) == 1
    k, v = caches[0].gather(blocks[:1], slice(0, 1))
    assert k.shape == v.shape == (1, 1, 8, 3)
    assert k.data_ptr() != v.data_ptr()
