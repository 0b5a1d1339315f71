"""Paged attention against one naive formula, written out a query at a time."""

import math
import random
from dataclasses import replace

import pytest
import torch

from tests.engine.models.paged import PagedRequest, make_metadata
from vllm_local.config import KVCacheConfig, KVCacheGroup
from vllm_local.kernels.interface import AttentionSpec
from vllm_local.kernels.torch_ref import TorchKernels, attention, step
from vllm_local.kernels.torch_ref.attention import rotate

PLAIN = AttentionSpec(num_heads=6, num_kv_heads=2, head_size=8, softmax_scale=0.4)
SPECS = {
    "grouped": PLAIN,
    "multi-head": replace(PLAIN, num_kv_heads=6),
    "multi-query": replace(PLAIN, num_kv_heads=1),
    "rotary": replace(PLAIN, rotary_frequencies=(1.0, 0.3, 0.1, 0.01), rotary_scale=1.1),
    "window": replace(PLAIN, sliding_window=7),
    "alibi": replace(PLAIN, alibi_slopes=(0.5, 0.25, 0.125, 1.0, 2.0, 0.06)),
    "alibi multi-head window clip": replace(
        PLAIN, num_kv_heads=6, alibi_slopes=(0.5, 0.25, 0.125, 1.0, 2.0, 0.06), sliding_window=11, qkv_clip=0.9
    ),
    "odd head": replace(PLAIN, head_size=5),
}


def naive_rotate(head: torch.Tensor, position: int, spec: AttentionSpec) -> torch.Tensor:
    if spec.rotary_frequencies is None:
        return head
    result, half = head.clone(), len(head) // 2
    for i, frequency in enumerate(spec.rotary_frequencies):
        cosine, sine = math.cos(position * frequency), math.sin(position * frequency)
        result[i] = (head[i] * cosine - head[i + half] * sine) * spec.rotary_scale
        result[i + half] = (head[i + half] * cosine + head[i] * sine) * spec.rotary_scale
    return result


def naive_attention(qkv: torch.Tensor, spec: AttentionSpec, query: int, head: int) -> torch.Tensor:
    """One query of one head over a whole request's [tokens, heads of Q K V, D], in double precision."""
    if spec.qkv_clip is not None:
        qkv = qkv.clamp(-spec.qkv_clip, spec.qkv_clip)
    kv_head = spec.num_heads + head // (spec.num_heads // spec.num_kv_heads)
    first = 0 if spec.sliding_window is None else max(0, query - spec.sliding_window + 1)
    q = naive_rotate(qkv[query, head], query, spec)
    scores = []
    for key in range(first, query + 1):
        score = float(q @ naive_rotate(qkv[key, kv_head], key, spec)) * spec.softmax_scale
        scores.append(score - (query - key) * (spec.alibi_slopes[head] if spec.alibi_slopes else 0.0))
    shares = torch.tensor(scores, dtype=torch.double).softmax(0)
    return shares @ qkv[first : query + 1, kv_head + spec.num_kv_heads]


class Harness:
    """One layer of attention over a few requests with random Q, K and V."""

    def __init__(self, spec: AttentionSpec, lengths: list[int], dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(0)
        group = KVCacheGroup(
            layers=(0,),
            num_kv_heads=spec.num_kv_heads,
            k_head_size=spec.head_size,
            v_head_size=spec.head_size,
            dtype=str(dtype).removeprefix("torch."),
        )
        self.spec, self.kernels = spec, TorchKernels("cpu", dtype)
        self.attention = self.kernels.pack_attention(spec)
        self.caches = self.kernels.allocate_kv_cache(KVCacheConfig(num_blocks=200, block_size=4, groups=(group,)))
        blocks = iter(random.Random(0).sample(range(200), 200))
        self.requests = [PagedRequest([0] * n, 0, [next(blocks) for _ in range(-(-n // 4))]) for n in lengths]
        heads = spec.num_heads + 2 * spec.num_kv_heads
        self.qkv = [torch.randn(n, heads, spec.head_size).to(dtype) for n in lengths]

    def run(self, counts: dict[int, int]) -> None:
        """Computes the next tokens of some requests and checks every query and head."""
        chosen = [self.requests[index] for index in counts]
        metadata = make_metadata(chosen, list(counts.values()))
        rows = [
            self.qkv[i][self.requests[i].num_computed : self.requests[i].num_computed + n] for i, n in counts.items()
        ]
        qkv = torch.cat(rows).flatten(1)
        step = self.kernels.begin_step(metadata, self.caches)
        queries = self.kernels.rotate_and_cache(qkv.clone(), self.attention, step, self.caches[0])
        result = self.kernels.attend(queries, self.attention, step, self.caches[0])
        assert result.shape == (sum(counts.values()), self.spec.num_heads * self.spec.head_size)
        for (index, n), part in zip(counts.items(), result.split(list(counts.values())), strict=True):
            self._check(index, n, part.view(n, self.spec.num_heads, -1))
            self.requests[index].num_computed += n

    def _check(self, index: int, count: int, result: torch.Tensor) -> None:
        start, qkv = self.requests[index].num_computed, self.qkv[index].double()
        tolerance = 1e-5 if result.dtype == torch.float32 else 3e-2
        for row in {0, count // 2, count - 1}:
            for head in range(self.spec.num_heads):
                wanted = naive_attention(qkv, self.spec, start + row, head)
                torch.testing.assert_close(result[row, head].double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_prefill_chunks_and_decode_in_one_batch(spec: AttentionSpec, dtype: torch.dtype):
    harness = Harness(spec, [30, 9, 21, 6], dtype)
    harness.run({0: 13, 1: 9})
    harness.run({2: 7, 0: 1, 3: 1})
    harness.run({3: 1, 0: 15, 2: 1})
    harness.run({2: 1, 3: 1, 0: 1})


@pytest.mark.parametrize("name", ["grouped", "alibi", "window"])
def test_long_contexts_are_cut_into_pieces(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attention, "GATHER_BYTES", 1)
    monkeypatch.setattr(step, "QUERY_BLOCK", 16)
    monkeypatch.setattr(step, "SPLIT_TOKENS", 10)
    harness = Harness(SPECS[name], [90, 50, 5])
    harness.run({0: 35, 1: 40, 2: 2})
    harness.run({0: 54, 2: 1})
    harness.run({0: 1, 1: 1, 2: 1})


def test_shared_prefix_is_read_from_the_first_requests_blocks():
    harness = Harness(PLAIN, [24, 20])
    harness.requests[1].blocks[:4] = harness.requests[0].blocks[:4]
    harness.requests[1].num_computed = 16
    harness.qkv[1][:16] = harness.qkv[0][:16]
    harness.run({1: 4, 0: 24})


def test_a_block_of_a_broken_request_does_not_spoil_the_next():
    harness = Harness(PLAIN, [8, 5, 3])
    good = harness.qkv[1].clone(), harness.qkv[2].clone()
    harness.qkv[0].fill_(torch.nan)
    metadata = make_metadata([harness.requests[0]], [8])
    begun = harness.kernels.begin_step(metadata, harness.caches)
    harness.kernels.rotate_and_cache(harness.qkv[0].flatten(1), harness.attention, begun, harness.caches[0])
    harness.requests[1].blocks = list(harness.requests[0].blocks)
    harness.qkv[1:] = good
    harness.run({1: 4, 2: 2})
    harness.run({2: 1, 1: 1})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_are_not_rounded_to_the_models_dtype(dtype: torch.dtype):
    # Scores of 300 and more that differ by 1: in bf16 they would be equal, or 2 apart.
    spec = AttentionSpec(num_heads=1, num_kv_heads=1, head_size=2, softmax_scale=1.0)
    harness = Harness(spec, [4], dtype)
    harness.qkv[0][:, 0] = torch.tensor([300.0, 1.0])
    harness.qkv[0][:, 1] = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    harness.run({0: 3})
    harness.run({0: 1})


def test_heads_are_normalised_before_rotation():
    torch.manual_seed(0)
    spec = SPECS["rotary"]
    q_norm, k_norm = torch.randn(8), torch.randn(8)
    harness = Harness(spec, [5])
    harness.attention = harness.kernels.pack_attention(spec, q_norm=q_norm, k_norm=k_norm, norm_eps=0.1)
    qkv = harness.qkv[0]
    metadata = make_metadata(harness.requests, [5])
    begun = harness.kernels.begin_step(metadata, harness.caches)
    queries = harness.kernels.rotate_and_cache(qkv.clone().flatten(1), harness.attention, begun, harness.caches[0])
    normed = qkv / (qkv.square().mean(-1, keepdim=True) + 0.1).sqrt()
    k, v = harness.caches[0].gather(metadata.block_tables, slice(0, 2))
    for token in range(5):
        for head in range(6):
            torch.testing.assert_close(queries[token, head], naive_rotate(normed[token, head] * q_norm, token, spec))
        for head in range(2):
            wanted = naive_rotate(normed[token, 6 + head] * k_norm, token, spec)
            torch.testing.assert_close(k[head, 0, token], wanted)
            torch.testing.assert_close(v[head, 0, token], qkv[token, 8 + head])


def test_rotation_keeps_lengths_and_relative_angles():
    heads = torch.randn(1, 1, 8).expand(2, 1, 8)
    angles = torch.tensor([[0.3, 1.0, 2.0, 0.1], [0.8, 1.5, 2.5, 0.6]])[:, None]
    turned = rotate(heads, angles.cos(), angles.sin())
    torch.testing.assert_close(turned.norm(dim=-1), heads.norm(dim=-1))
    pairs = heads[0, 0].view(2, 4)
    dot = (pairs.square().sum(0) * math.cos(0.5)).sum()
    torch.testing.assert_close((turned[0] * turned[1]).sum(), dot)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SPECS)
def test_cuda_agrees_with_the_cpu(name: str, dtype: torch.dtype):
    results = []
    for device in ("cpu", "cuda"):
        harness = Harness(SPECS[name], [30, 9, 21], torch.float32 if device == "cpu" else dtype)
        qkv = torch.cat(harness.qkv).flatten(1).to(device)
        kernels = TorchKernels(device, qkv.dtype)
        group = KVCacheGroup(
            layers=(0,),
            num_kv_heads=harness.spec.num_kv_heads,
            k_head_size=harness.spec.head_size,
            v_head_size=harness.spec.head_size,
            dtype=str(qkv.dtype).removeprefix("torch."),
        )
        caches = kernels.allocate_kv_cache(KVCacheConfig(num_blocks=200, block_size=4, groups=(group,)))
        packed = kernels.pack_attention(harness.spec)
        metadata = make_metadata(harness.requests, [30, 9, 21])
        for name_, value in ((n, getattr(metadata, n)) for n in metadata.__slots__):
            if isinstance(value, torch.Tensor):
                setattr(metadata, name_, value.to(device))
        begun = kernels.begin_step(metadata, caches)
        queries = kernels.rotate_and_cache(qkv, packed, begun, caches[0])
        results.append(kernels.attend(queries, packed, begun, caches[0]).float().cpu())
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    torch.testing.assert_close(results[1], results[0], rtol=tolerance, atol=tolerance)
