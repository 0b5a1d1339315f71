"""A model without weights, whose next token is a function of every token that it finds in the KV cache."""

from __future__ import annotations

import torch

from vllm_local.config import EngineConfig, KVCacheConfig, KVCacheGroup, ModelInfo, ResolvedConfig
from vllm_local.sampling_params import SamplingParams
from vllm_local.step_io import CachedRequestData, NewRequestData, SchedulerOutput

VOCAB_SIZE = 97
EMPTY = -1


def make_config(num_blocks=32, block_size=4, *, max_num_seqs=4, budget=64, max_model_len=64) -> ResolvedConfig:
    group = KVCacheGroup(layers=(0,), num_kv_heads=1, k_head_size=1, v_head_size=1, dtype="float32")
    return ResolvedConfig(
        engine=EngineConfig(),
        model=ModelInfo(
            architecture="Fake",
            max_position_embeddings=max_model_len,
            vocab_size=VOCAB_SIZE,
            dtype="float32",
            kv_cache_groups=(group,),
        ),
        device="cpu",
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=budget,
        kv_cache=KVCacheConfig(num_blocks=num_blocks, block_size=block_size, groups=(group,)),
    )


def next_token(token_ids) -> int:
    """What the model says after a text; the order of its tokens matters."""
    state = 1
    for token_id in token_ids:
        state = (state * 31 + int(token_id) + 7) % 1_000_003
    return state % VOCAB_SIZE


def expected_answer(prompt, num_tokens) -> list[int]:
    """What the model answers greedily."""
    token_ids = list(prompt)
    for _ in range(num_tokens):
        token_ids.append(next_token(token_ids))
    return token_ids[len(prompt) :]


class FakeKernels:
    """Keeps a token id in each KV slot."""

    device = torch.device("cpu")

    def allocate_kv_cache(self, config: KVCacheConfig) -> list[torch.Tensor]:
        self.block_size = config.block_size
        return [torch.full((config.num_tokens,), EMPTY)]


class FakeModel:
    """Reads each token's context back through slots and block tables, so that wrong ones give wrong answers."""

    def __init__(self) -> None:
        self.kernels = FakeKernels()
        self.num_forwards = 0
        self.poisoned_tokens: set[int] = set()
        self.head_sizes: list[int] = []
        self.logits: list[torch.Tensor] = []

    def forward(self, inputs, metadata, kv_caches, logits=None):
        self.num_forwards += 1
        (cache,) = kv_caches
        cache[metadata.slot_mapping] = inputs
        hidden: list[int] = []
        starts = metadata.query_start_loc.tolist()
        for row, (query_len, seq_len) in enumerate(zip(metadata.query_lens, metadata.host_seq_lens, strict=True)):
            assert starts[row + 1] - starts[row] == query_len
            assert metadata.seq_lens[row] == seq_len
            positions = metadata.positions[starts[row] : starts[row + 1]].tolist()
            assert positions == list(range(seq_len - query_len, seq_len))
            blocks = metadata.block_tables[row].tolist()
            slots = [
                blocks[position // self.kernels.block_size] * self.kernels.block_size
                + position % self.kernels.block_size
                for position in range(seq_len)
            ]
            context = cache[slots].tolist()
            assert EMPTY not in context, "a token was read before it was computed"
            hidden.extend(next_token(context[: position + 1]) for position in positions)
        rows = torch.tensor(hidden, dtype=torch.float32)[:, None]
        if logits is not None:
            self.compute_logits(rows, logits)
        return rows

    def compute_logits(self, hidden, out=None):
        self.head_sizes.append(len(hidden))
        logits = torch.zeros(len(hidden), VOCAB_SIZE)
        tokens = hidden[:, 0].long()
        logits[torch.arange(len(hidden)), tokens] = 4.0
        for row, token in enumerate(tokens.tolist()):
            if token in self.poisoned_tokens:
                logits[row] = torch.nan
        self.logits.append(logits if out is None else out.copy_(logits))
        return self.logits[-1]


def new(
    request_id, prompt, blocks, *, answer=(), computed=0, seed=0, choice_index=0, eos=(), described_from=None, **params
):
    params.setdefault("temperature", 0)
    return NewRequestData(
        request_id=request_id,
        token_ids=[*prompt, *answer],
        num_prompt_tokens=len(prompt),
        num_computed_tokens=computed,
        block_ids=(list(blocks),),
        sampling_params=SamplingParams(**params),
        seed=seed,
        choice_index=choice_index,
        eos_token_ids=frozenset(eos),
        prompt_logprobs_start=described_from,
    )


def cached(request_id, computed, tokens=(), blocks=()):
    return request_id, list(tokens), (list(blocks),), computed


def blocks_in_use(inputs):
    """Returns of each request those blocks of 4 tokens that it has tokens in."""
    rows = zip(inputs.attention.block_tables.tolist(), inputs.attention.host_seq_lens, strict=True)
    return [blocks[: -(-length // 4)] for blocks, length in rows]


def step(num_scheduled, *, new=(), cached=(), finished=(), preempted=()):
    return SchedulerOutput(
        scheduled_new_requests=list(new),
        scheduled_cached_requests=CachedRequestData(*map(list, zip(*cached, strict=True))),
        num_scheduled_tokens=dict(num_scheduled),
        finished_request_ids=list(finished),
        preempted_request_ids=list(preempted),
    )
