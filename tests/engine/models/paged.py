"""A runner for tests: any requests, any chunks, blocks in any order."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import torch

from vllm_local.config import KVCacheConfig
from vllm_local.kernels.interface import AttentionMetadata
from vllm_local.models.decoder import Decoder

BLOCK_SIZE = 4


@dataclass
class PagedRequest:
    """A request's tokens and where their K and V are."""

    token_ids: list[int]
    num_computed: int = 0
    blocks: list[int] = field(default_factory=list)


def make_metadata(requests: list[PagedRequest], counts: list[int], block_size: int = BLOCK_SIZE) -> AttentionMetadata:
    """Metadata of a step that computes the next `counts` tokens of each request, whose blocks are in place."""
    spans = [range(item.num_computed, item.num_computed + n) for item, n in zip(requests, counts, strict=True)]
    slots = [
        item.blocks[p // block_size] * block_size + p % block_size
        for item, span in zip(requests, spans, strict=True)
        for p in span
    ]
    width = max(len(item.blocks) for item in requests)
    lengths = [span.stop for span in spans]
    return AttentionMetadata(
        positions=torch.tensor([p for span in spans for p in span]),
        slot_mapping=torch.tensor(slots),
        query_start_loc=torch.tensor([0, *counts]).cumsum(0).int(),
        seq_lens=torch.tensor(lengths).int(),
        block_tables=torch.tensor([item.blocks + [0] * (width - len(item.blocks)) for item in requests]).int(),
        query_lens=list(counts),
        host_seq_lens=lengths,
    )


class PagedRunner:
    """Runs steps of a decoder over a paged KV cache whose free blocks are shuffled."""

    def __init__(self, decoder: Decoder, num_blocks: int = 256) -> None:
        groups = decoder.config.info.kv_cache_groups
        config = KVCacheConfig(num_blocks=num_blocks, block_size=BLOCK_SIZE, groups=groups)
        self.decoder = decoder
        self.kv_caches = decoder.kernels.allocate_kv_cache(config)
        self.free = random.Random(0).sample(range(num_blocks), num_blocks)

    def step(self, batch: list[tuple[PagedRequest, int]]) -> list[torch.Tensor]:
        """Computes the next n tokens of each request; returns each one's logits [n, V]."""
        requests, counts = [item for item, _ in batch], [n for _, n in batch]
        for item, n in batch:
            while len(item.blocks) * BLOCK_SIZE < item.num_computed + n:
                item.blocks.append(self.free.pop())
        metadata = make_metadata(requests, counts)
        token_ids = [t for item, n in batch for t in item.token_ids[item.num_computed : item.num_computed + n]]
        hidden = self.decoder.forward(torch.tensor(token_ids), metadata, self.kv_caches)
        for item, n in batch:
            item.num_computed += n
        return list(self.decoder.compute_logits(hidden).split(counts))

    def fork(self, request: PagedRequest, token_ids: list[int], num_shared: int) -> PagedRequest:
        """A request that finds `num_shared` tokens, whole blocks of another's, in the cache."""
        assert num_shared % BLOCK_SIZE == 0
        return PagedRequest(token_ids, num_shared, request.blocks[: num_shared // BLOCK_SIZE])

    def preempt(self, request: PagedRequest) -> None:
        """Takes a request's blocks; it starts over."""
        self.free.extend(reversed(request.blocks))
        request.blocks, request.num_computed = [], 0
