"""Native attention against its torch twin, and the same bits whoever else is in the batch."""

import random
from dataclasses import dataclass, replace

import pytest
import torch

from tests.engine.models.paged import PagedRequest, make_metadata
from vllm_local.config import KVCacheConfig, KVCacheGroup
from vllm_local.errors import UnsupportedModelError
from vllm_local.kernels.cpu.attention import MAX_HEAD_SIZE, NativeAttention
from vllm_local.kernels.cpu.backend import NativeKernels
from vllm_local.kernels.cpu.library import NativeLibrary
from vllm_local.kernels.interface import AttentionSpec, Kernels
from vllm_local.kernels.torch_ref import TorchKernels

DTYPES = (torch.float32, torch.bfloat16)
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2e-2}
PLAIN = AttentionSpec(num_heads=6, num_kv_heads=2, head_size=16, softmax_scale=0.3)
ALIBI = (0.5, 0.25, 0.125, 1.0, 2.0, 0.06)
SPECS = {
    "grouped": PLAIN,
    "multi-head": replace(PLAIN, num_kv_heads=6),
    "more heads than rows of an item": replace(PLAIN, num_heads=71, num_kv_heads=1),
    "rotary": replace(PLAIN, rotary_frequencies=tuple(0.5**i for i in range(8)), rotary_scale=1.1),
    "rotary with a tail": replace(PLAIN, head_size=10, rotary_frequencies=(1.0, 0.3, 0.1, 0.03, 0.01)),
    "window": replace(PLAIN, sliding_window=70),
    "alibi": replace(PLAIN, alibi_slopes=ALIBI),
    "alibi window clip": replace(PLAIN, alibi_slopes=ALIBI, sliding_window=11, qkv_clip=0.9),
    "odd head": replace(PLAIN, head_size=5),
    "large head": replace(PLAIN, head_size=80, softmax_scale=0.1),
}
LENGTHS = [140, 65, 9, 700]
CHUNKS = [{0: 60, 1: 64, 3: 600}, {3: 1, 0: 1, 1: 1, 2: 3}, {2: 5, 3: 99, 0: 79}, {2: 1}]
ALONE = [{0: 140}, {1: 65}, {2: 9}, {3: 700}]


@dataclass
class Layer:
    """One layer over a few requests, whose Q, K and V are random, and the same for the same spec and dtype."""

    kernels: Kernels
    spec: AttentionSpec
    dtype: torch.dtype
    block_size: int = 16
    with_norms: bool = False

    def run(self, lengths: list[int], chunks: list[dict[int, int]]) -> list[torch.Tensor]:
        """Computes the requests in steps of {request: number of tokens}; returns each one's outputs."""
        self._allocate(lengths)
        outputs: list[list[torch.Tensor]] = [[] for _ in lengths]
        for chunk in chunks:
            for request, rows in zip(chunk, self._step(chunk), strict=True):
                outputs[request].append(rows)
        return [torch.cat(rows) for rows in outputs]

    def _allocate(self, lengths: list[int]) -> None:
        numbers = torch.Generator().manual_seed(0)
        spec, size = self.spec, self.spec.head_size
        norms = [torch.randn(size, generator=numbers) if self.with_norms else None for _ in range(2)]
        self.attention = self.kernels.pack_attention(spec, q_norm=norms[0], k_norm=norms[1], norm_eps=0.1)
        width = (spec.num_heads + 2 * spec.num_kv_heads) * size
        self.qkv = [torch.randn(n, width, generator=numbers).to(self.dtype) for n in lengths]
        num_blocks = sum(-(-n // self.block_size) for n in lengths)
        dtype = str(self.dtype).removeprefix("torch.")
        group = KVCacheGroup(
            layers=(0,), num_kv_heads=spec.num_kv_heads, k_head_size=size, v_head_size=size, dtype=dtype
        )
        config = KVCacheConfig(num_blocks=num_blocks, block_size=self.block_size, groups=(group,))
        self.caches = self.kernels.allocate_kv_cache(config)
        free = random.Random(0).sample(range(num_blocks), num_blocks)
        self.requests = [PagedRequest([], 0, [free.pop() for _ in range(-(-n // self.block_size))]) for n in lengths]

    def _step(self, chunk: dict[int, int]) -> list[torch.Tensor]:
        requests, counts = [self.requests[index] for index in chunk], list(chunk.values())
        spans = [slice(item.num_computed, item.num_computed + n) for item, n in zip(requests, counts, strict=True)]
        qkv = torch.cat([self.qkv[index][span] for index, span in zip(chunk, spans, strict=True)])
        step = self.kernels.begin_step(make_metadata(requests, counts, self.block_size), self.caches)
        queries = self.kernels.rotate_and_cache(qkv, self.attention, step, self.caches[0])
        result = self.kernels.attend(queries, self.attention, step, self.caches[0])
        for item, span in zip(requests, spans, strict=True):
            item.num_computed = span.stop
        return list(result.split(counts))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_attention_is_the_torch_twins(library: NativeLibrary, spec: AttentionSpec, dtype: torch.dtype):
    library.set_num_threads(2)
    result = Layer(NativeKernels(dtype, library), spec, dtype).run(LENGTHS, CHUNKS)
    expected = Layer(TorchKernels("cpu", dtype), spec, dtype).run(LENGTHS, CHUNKS)
    for rows, wanted in zip(result, expected, strict=True):
        assert rows.dtype == dtype
        torch.testing.assert_close(rows, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_query_does_not_depend_on_the_batch_the_chunks_or_the_threads(
    library: NativeLibrary, spec: AttentionSpec, dtype: torch.dtype
):
    library.set_num_threads(1)
    alone = Layer(NativeKernels(dtype, library), spec, dtype).run(LENGTHS, ALONE)
    library.set_num_threads(2)
    together = Layer(NativeKernels(dtype, library), spec, dtype).run(LENGTHS, CHUNKS)
    assert all(torch.equal(*pair) for pair in zip(together, alone, strict=True))


@pytest.mark.parametrize("name", ["grouped", "window"])
def test_threads_share_a_long_context(library: NativeLibrary, name: str):
    spec = replace(SPECS[name], num_kv_heads=1, sliding_window=SPECS[name].sliding_window and 1100)
    outputs = []
    for num_threads in (1, 2, 5):
        library.set_num_threads(num_threads)
        layer = Layer(NativeKernels(torch.float32, library), spec, torch.float32)
        outputs.append(layer.run([1700], [{0: 1698}, {0: 1}, {0: 1}])[0][-3:])
    expected = Layer(TorchKernels("cpu", torch.float32), spec, torch.float32).run([1700], [{0: 1700}])[0][-3:]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    torch.testing.assert_close(outputs[0], expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block_size", [1, 4, 24, 32, 64, 100])
def test_the_size_of_a_block_changes_nothing(library: NativeLibrary, block_size: int, dtype: torch.dtype):
    spec = SPECS["rotary"]
    wanted = Layer(NativeKernels(dtype, library), spec, dtype).run(LENGTHS, CHUNKS)
    result = Layer(NativeKernels(dtype, library), spec, dtype, block_size).run(LENGTHS, CHUNKS)
    assert all(torch.equal(*pair) for pair in zip(result, wanted, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["rotary", "rotary with a tail", "odd head"])
def test_heads_are_normalised_as_by_the_torch_twin(library: NativeLibrary, name: str, dtype: torch.dtype):
    result = Layer(NativeKernels(dtype, library), SPECS[name], dtype, with_norms=True).run([40], [{0: 33}, {0: 7}])
    expected = Layer(TorchKernels("cpu", dtype), SPECS[name], dtype, with_norms=True).run([40], [{0: 33}, {0: 7}])
    torch.testing.assert_close(result, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_are_not_rounded_to_the_models_dtype(library: NativeLibrary, dtype: torch.dtype):
    # Scores of 300 and more that differ by 1: in bf16 they would be equal, or 2 apart.
    spec = AttentionSpec(num_heads=1, num_kv_heads=1, head_size=2, softmax_scale=1.0)
    layer = Layer(NativeKernels(dtype, library), spec, dtype)
    layer._allocate([4])
    rows = [[300.0, 1.0, 1.0, float(i), float(i), 0.0] for i in range(4)]
    layer.qkv[0] = torch.tensor(rows, dtype=dtype)
    (result,) = layer._step({0: 4})
    shares = torch.tensor([0.0, 1.0, 2.0, 3.0]).softmax(0)
    assert result[3, 0].item() == pytest.approx(float(shares @ torch.arange(4.0)), rel=TOLERANCE[dtype])


def test_a_soft_cap_bounds_the_scores(library: NativeLibrary):
    spec = replace(PLAIN, num_heads=1, num_kv_heads=1)
    layer = Layer(NativeKernels(torch.float32, library), spec, torch.float32)
    layer._allocate([90])
    assert isinstance(layer.attention, NativeAttention)
    layer.attention._layer.logit_softcap = 1.5
    (result,) = layer._step({0: 90})
    q, k, v = layer.qkv[0].double().split(16, dim=1)
    scores = 1.5 * ((q @ k.T * 0.3) / 1.5).tanh()
    scores = scores.masked_fill(torch.ones(90, 90).triu(1).bool(), -torch.inf)
    torch.testing.assert_close(result.double(), scores.softmax(1) @ v, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_block_of_a_broken_request_does_not_spoil_the_next(library: NativeLibrary, dtype: torch.dtype):
    layer = Layer(NativeKernels(dtype, library), PLAIN, dtype)
    wanted = layer.run([9], [{0: 9}])[0]
    good = layer.qkv[0]
    for poison in (torch.nan, torch.inf, -torch.inf):
        layer.requests[0].num_computed = 0
        layer.qkv[0] = torch.full_like(good, poison).repeat(2, 1)
        layer._step({0: 16})
        layer.requests[0].num_computed = 0
        layer.qkv[0] = good
        assert torch.equal(torch.cat([*layer._step({0: 5}), *layer._step({0: 4})]), wanted)


def test_heads_beyond_the_librarys_limit_are_refused(library: NativeLibrary):
    with pytest.raises(UnsupportedModelError, match="1024 at most"):
        NativeKernels(torch.float32, library).pack_attention(replace(PLAIN, head_size=MAX_HEAD_SIZE + 1))
