"""Every family against transformers' own code: the same weights, the same logits."""

import copy
import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tests.engine.models.checkpoints import MODELS, VOCAB_SIZE, save_reference
from tests.engine.models.paged import PagedRequest, PagedRunner
from vllm_local.config import EngineConfig
from vllm_local.kernels.selection import native_library
from vllm_local.models.decoder import Decoder
from vllm_local.models.loader import load_model, read_model_config, weight_bytes

TOLERANCE = 1e-4  # of the largest logit, in float32
NUM_GREEDY_TOKENS = 64


class Pair(NamedTuple):
    """A model twice."""

    reference: Any
    decoder: Decoder


def load(folder: Path, dtype: str = "auto") -> Decoder:
    config = read_model_config(folder, EngineConfig(model=str(folder), dtype=dtype), "cpu")
    return load_model(folder, config, device="cpu", progress=False)


def random_tokens(seed: int, count: int) -> list[int]:
    return random.Random(seed).choices(range(VOCAB_SIZE), k=count)


def reference_logits(reference: Any, token_ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = reference(torch.tensor([token_ids])).logits[0]
    return logits


def error(reference: Any, token_ids: list[int], logits: torch.Tensor) -> float:
    """The largest difference over the last rows, as a share of the largest logit."""
    wanted = reference_logits(reference, token_ids)[-len(logits) :]
    return float((logits - wanted).abs().max() / wanted.abs().max())


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp(request.param)
    reference = save_reference(request.param, folder)
    return Pair(reference, load(folder))


def test_ragged_batches_with_chunked_prefill(pair: Pair):
    chance = random.Random(3)
    runner = PagedRunner(pair.decoder)
    requests = [PagedRequest(random_tokens(seed, length)) for seed, length in enumerate((60, 1, 33, 17, 150, 8))]
    logits: dict[int, list[torch.Tensor]] = {index: [] for index in range(len(requests))}
    while unfinished := [i for i, item in enumerate(requests) if item.num_computed < len(item.token_ids)]:
        chosen = chance.sample(unfinished, k=chance.randint(1, len(unfinished)))
        batch = []
        for index in chosen:
            left = len(requests[index].token_ids) - requests[index].num_computed
            batch.append((requests[index], min(left, chance.choice((1, 1, 2, 13, 140)))))
        for index, rows in zip(chosen, runner.step(batch), strict=True):
            logits[index].append(rows)
    for index, item in enumerate(requests):
        assert error(pair.reference, item.token_ids, torch.cat(logits[index])) <= TOLERANCE


def test_prefix_hits(pair: Pair):
    runner = PagedRunner(pair.decoder)
    first = PagedRequest(random_tokens(1, 30))
    runner.step([(first, 14)])
    later = runner.fork(first, [*first.token_ids[:12], *random_tokens(2, 9)], 12)
    rows, more = runner.step([(first, 16), (later, 9)])
    assert error(pair.reference, first.token_ids, rows) <= TOLERANCE
    assert error(pair.reference, later.token_ids, more) <= TOLERANCE


def test_a_prefix_that_another_request_computes_in_the_same_step(pair: Pair):
    runner = PagedRunner(pair.decoder)
    first = PagedRequest(random_tokens(1, 21), blocks=[runner.free.pop() for _ in range(6)])
    hit = runner.fork(first, [*first.token_ids[:16], *random_tokens(2, 5)], 16)
    one_token = runner.fork(first, [*first.token_ids[:16], 7], 16)
    more, single, rows = runner.step([(hit, 5), (one_token, 1), (first, 21)])
    for item, logits in ((first, rows), (hit, more), (one_token, single)):
        assert error(pair.reference, item.token_ids, logits) <= TOLERANCE


def test_recompute_after_preemption(pair: Pair):
    runner = PagedRunner(pair.decoder, num_blocks=8)
    victim, other = PagedRequest(random_tokens(1, 20)), PagedRequest(random_tokens(2, 27))
    runner.step([(victim, 15), (other, 4)])
    runner.preempt(victim)
    (rows,) = runner.step([(other, 23)])
    assert error(pair.reference, other.token_ids, rows) <= TOLERANCE
    runner.preempt(other)
    (rows,) = runner.step([(victim, 20)])
    assert error(pair.reference, victim.token_ids, rows) <= TOLERANCE


def test_greedy_tokens_are_the_same(pair: Pair):
    runner = PagedRunner(pair.decoder)
    item, neighbour = PagedRequest(random_tokens(5, 11)), PagedRequest(random_tokens(6, 11 + NUM_GREEDY_TOKENS))
    rows, _ = runner.step([(item, 11), (neighbour, 11)])
    num_compared = 0
    for _ in range(NUM_GREEDY_TOKENS):
        best, second = reference_logits(pair.reference, item.token_ids)[-1].topk(2).values
        wanted = int(reference_logits(pair.reference, item.token_ids)[-1].argmax())
        if best - second > 1e-3:
            assert int(rows[-1].argmax()) == wanted
            num_compared += 1
        item.token_ids.append(wanted)
        rows, _ = runner.step([(item, 1), (neighbour, 1)])
    assert num_compared > NUM_GREEDY_TOKENS // 2


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_is_as_near_as_transformers_own(name: str, tmp_path: Path):
    reference = save_reference(name, tmp_path, dtype=torch.bfloat16)
    decoder = load(tmp_path, "bfloat16")
    assert decoder.kernels.dtype == torch.bfloat16
    in_bfloat16 = copy.deepcopy(reference)
    for parameter in in_bfloat16.parameters():
        parameter.data = parameter.data.bfloat16()
    runner = PagedRunner(decoder)
    items = [PagedRequest(random_tokens(seed, 40)) for seed in range(3)]
    steps = [
        runner.step([(item, 36) for item in items]),
        *(runner.step([(item, 1) for item in items]) for _ in range(4)),
    ]
    ours, theirs, scale = [], [], 0.0
    for item, rows in zip(items, map(torch.cat, zip(*steps, strict=True)), strict=True):
        assert rows.dtype == torch.float32
        wanted = reference_logits(reference, item.token_ids)
        ours.append(squares(rows - wanted))
        theirs.append(squares(reference_logits(in_bfloat16, item.token_ids).float() - wanted))
        scale += float(wanted.square().sum())
    # A rounding may choose another of two experts that are nearly equal, which changes all of a row.
    num_rerouted = 1 if any("expert" in weight for weight, _ in reference.named_parameters()) else 0
    our_error, their_error = (without_the_worst(torch.cat(errors), num_rerouted) for errors in (ours, theirs))
    assert our_error < 1.2 * their_error
    assert our_error < 0.05**2 * scale


def squares(differences: torch.Tensor) -> torch.Tensor:
    """Return each row's sum of squares."""
    return differences.square().sum(1)


def without_the_worst(errors: torch.Tensor, count: int) -> float:
    """Return the sum of all but so many of the largest."""
    return float(errors.sort().values[: len(errors) - count].sum())


@pytest.mark.parametrize("name", ["llama-mha-bias", "qwen3-bias-tied", "qwen3-moe", "mpt-8-heads"])
def test_shards_hold_the_same_model(name: str, tmp_path: Path):
    reference = save_reference(name, tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    item = PagedRequest(random_tokens(1, 12))
    (rows,) = PagedRunner(load(tmp_path)).step([(item, 12)])
    assert error(reference, item.token_ids, rows) <= TOLERANCE


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_half_precision_files_computed_in_float32(stored: torch.dtype, tmp_path: Path):
    reference = save_reference("qwen2-gqa", tmp_path, dtype=stored)
    item = PagedRequest(random_tokens(1, 12))
    (rows,) = PagedRunner(load(tmp_path, "float32")).step([(item, 12)])
    assert error(reference, item.token_ids, rows) <= TOLERANCE


@pytest.mark.parametrize("name", ["llama-gqa", "qwen2-mha-tied", "mixtral"])
def test_weight_bytes_are_what_the_weights_take(name: str, tmp_path: Path):
    reference = save_reference(name, tmp_path)
    numbers = sum(parameter.numel() for parameter in reference.parameters())
    if reference.config.tie_word_embeddings and native_library() is None:
        numbers += reference.lm_head.weight.numel()
    assert weight_bytes(tmp_path, "float32") == 4 * numbers
    assert weight_bytes(tmp_path, "bfloat16") == 2 * numbers
