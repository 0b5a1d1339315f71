"""A program does what the network does, to the last bit, without running it again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from tests.engine.models.paged import PagedRequest, make_metadata
from vllm_local.config import KVCacheConfig, KVCacheGroup
from vllm_local.kernels.cpu.backend import NativeKernels
from vllm_local.kernels.cpu.library import NativeLibrary
from vllm_local.kernels.cpu.program import Recording
from vllm_local.kernels.interface import AttentionSpec, Kernels, KVCache, Step

VOCABULARY, SIZE, INTERMEDIATE = 60, 24, 40
SPEC = AttentionSpec(num_heads=4, num_kv_heads=2, head_size=6, softmax_scale=0.4, rotary_frequencies=(1.0, 0.5, 0.1))
BLOCK_SIZE = 16


@dataclass
class ParallelLayers:
    """Two layers that feed one norm to attention and to the feed-forward network, and how often they ran."""

    kernels: NativeKernels
    num_runs: int = 0

    def __post_init__(self) -> None:
        kernels, numbers = self.kernels, torch.Generator().manual_seed(0)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=numbers) / 3

        self.layers: list[Any] = [
            (
                kernels.pack_norm(random(SIZE), random(SIZE), kind="layer", eps=1e-6),
                kernels.pack_linear([random(48, SIZE)], [random(48)]),
                kernels.pack_attention(SPEC),
                kernels.pack_linear([random(SIZE, SIZE)]),
                kernels.pack_activated_linear([random(INTERMEDIATE, SIZE)] * 2, activation="silu"),
                kernels.pack_linear([random(SIZE, INTERMEDIATE)], [random(SIZE)]),
            )
            for _ in range(2)
        ]
        self.embedding = kernels.pack_embedding(random(VOCABULARY, SIZE))
        self.final_norm = kernels.pack_norm(random(SIZE), kind="rms", eps=1e-6)
        self.head = kernels.pack_linear([random(VOCABULARY, SIZE)])

    def run(self, kernels: Kernels, token_ids: torch.Tensor, step: Step, kv_caches: Sequence[KVCache]) -> torch.Tensor:
        self.num_runs += 1
        residual = kernels.embed(token_ids, self.embedding)
        for (norm, qkv, attention, out, up, down), cache in zip(self.layers, kv_caches, strict=True):
            rows = kernels.norm(residual, norm)
            queries = kernels.rotate_and_cache(kernels.linear(rows, qkv), attention, step, cache)
            kernels.linear_add(kernels.attend(queries, attention, step, cache), out, residual)
            kernels.linear_add(kernels.activated_linear(rows, up), down, residual)
        return kernels.norm(residual, self.final_norm)

    def write_logits(self, kernels: Kernels, hidden: torch.Tensor, logits: torch.Tensor) -> None:
        kernels.logits(hidden, self.head, 0.5, logits)

    def allocate(self) -> list[KVCache]:
        dtype = str(self.kernels.dtype).removeprefix("torch.")
        group = KVCacheGroup(layers=(0, 1), num_kv_heads=2, k_head_size=6, v_head_size=6, dtype=dtype)
        return self.kernels.allocate_kv_cache(KVCacheConfig(num_blocks=8, block_size=BLOCK_SIZE, groups=(group,)))


class Steps:
    """Two requests on caches of their own, whose tokens are random."""

    def __init__(self, layers: ParallelLayers) -> None:
        self.kernels, self.caches = layers.kernels, layers.allocate()
        self.numbers = torch.Generator().manual_seed(1)
        self.requests = [PagedRequest([], 0, [2, 5]), PagedRequest([], 0, [7, 1])]

    def next(self, *counts: int) -> tuple[torch.Tensor, Step]:
        metadata = make_metadata(self.requests, list(counts), BLOCK_SIZE)
        for request, count in zip(self.requests, counts, strict=True):
            request.num_computed += count
        token_ids = torch.randint(0, VOCABULARY, (sum(counts),), generator=self.numbers)
        return token_ids, self.kernels.begin_step(metadata, self.caches)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_program_computes_what_its_network_does(library: NativeLibrary, dtype: torch.dtype):
    layers = ParallelLayers(NativeKernels(dtype, library))
    direct, recorded = Steps(layers), Steps(layers)
    program = layers.kernels.program(layers.run, layers.write_logits)
    for counts in ((3, 1), (1, 1), (1, 2), (9, 11), (1, 1)):
        token_ids, step = direct.next(*counts)
        wanted = layers.run(layers.kernels, token_ids, step, direct.caches)
        token_ids, step = recorded.next(*counts)
        logits, wanted_logits = torch.full((2, sum(counts), VOCABULARY), torch.nan)
        layers.write_logits(layers.kernels, wanted, wanted_logits)
        asked = logits if sum(counts) != 3 else None
        assert torch.equal(program(token_ids, step, recorded.caches, asked), wanted), counts
        assert torch.equal(logits, wanted_logits) if asked is not None else logits.isnan().all()
    assert layers.num_runs == 5 + 2, "recorded once, and again when there were more rows than ever"


def test_a_program_follows_its_caches(library: NativeLibrary):
    layers = ParallelLayers(NativeKernels(torch.float32, library))
    program = layers.kernels.program(layers.run, layers.write_logits)
    outcomes = []
    for _ in range(2):
        steps = Steps(layers)
        token_ids, step = steps.next(5, 5)
        outcomes.append(program(token_ids, step, steps.caches).clone())
        assert steps.caches[0].v.any()
    assert torch.equal(*outcomes)


def test_a_network_that_fails_leaves_the_kernels_as_they_were(library: NativeLibrary):
    layers = ParallelLayers(NativeKernels(torch.float32, library))
    steps = Steps(layers)
    token_ids, step = steps.next(1, 1)
    with pytest.raises(ValueError, match="shorter"):
        layers.kernels.program(layers.run, layers.write_logits)(token_ids, step, steps.caches[:1])
    layers.run(layers.kernels, token_ids, step, steps.caches)
    assert steps.caches[0].v.any()


def test_memory_is_handed_out_again_once_it_was_let_go():
    recording = Recording(4)
    first = recording.empty(8, torch.float32)
    second = recording.empty(8, torch.float32)
    address = first.data_ptr()
    assert second.data_ptr() != address
    del first
    assert recording.empty(9, torch.float32).data_ptr() != address
    assert recording.empty(8, torch.float32).data_ptr() == address
