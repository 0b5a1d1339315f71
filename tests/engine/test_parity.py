"""The whole engine against transformers: what a user reads off an answer is what the reference says."""

import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tests.engine.models.checkpoints import VOCAB_SIZE, save_reference
from tests.engine.tokenizer import samples
from vllm_local import LLM, RequestOutput, SamplingParams

FAMILIES = ["llama-llama3-rope", "qwen2-gqa", "qwen3-bias-tied", "mpt-6-heads-clip"]
# Steps of 12 tokens cut every prompt into chunks.
CHUNKED: dict[str, Any] = {"max_num_seqs": 6, "max_num_batched_tokens": 12, "block_size": 4, "use_tqdm_on_load": False}

# Two layers of K and V heads in float32: what `kv_cache_memory_bytes` has to be for so many tokens.
KV_BYTES_PER_TOKEN = {
    "llama": 2 * 2 * 2 * 8 * 4,
    "qwen2": 2 * 2 * 2 * 8 * 4,
    "qwen3": 2 * 2 * 2 * 32 * 4,
    "mpt": 2 * 2 * 6 * 8 * 4,
}


class Checkpoint(NamedTuple):
    """A model's folder and the reference that it was saved from."""

    folder: Path
    reference: Any


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp(request.param)
    reference = save_reference(request.param, folder)
    samples.save(samples.byte_level_bpe(), folder)
    return Checkpoint(folder, reference)


def prompts() -> list[list[int]]:
    """Ragged prompts, half of them with the same beginning."""
    chance = random.Random(0)
    shared = chance.choices(range(VOCAB_SIZE), k=22)
    lengths = (5, 40, 1, 17, 31, 60, 9, 26)
    own = [chance.choices(range(VOCAB_SIZE), k=length) for length in lengths]
    return [shared + tokens if index % 2 else tokens for index, tokens in enumerate(own)]


def generate(folder: Path, **engine_args: Any) -> tuple[list[RequestOutput], int]:
    """Greedy answers with log-probabilities, and how many requests lost their blocks on the way."""
    params = SamplingParams(temperature=0, max_tokens=40, logprobs=5, ignore_eos=True)
    with LLM(model=str(folder), dtype="float32", **{**CHUNKED, **engine_args}) as llm:
        outputs = llm.generate([{"prompt_token_ids": tokens} for tokens in prompts()], params, use_tqdm=False)
        return outputs, llm.engine.stats().num_preemptions


def check(reference: Any, outputs: list[RequestOutput]) -> None:
    """Holds each answer against the reference, which reads prompt and answer in one go."""
    for tokens, output in zip(prompts(), outputs, strict=True):
        answer = output.outputs[0]
        assert answer.logprobs is not None
        with torch.inference_mode():
            logits = reference(torch.tensor([tokens + answer.token_ids])).logits[0, len(tokens) - 1 : -1]
        expected = logits.log_softmax(-1)
        for position, token_id in enumerate(answer.token_ids):
            best, second = logits[position].topk(2)[0]
            if best - second > 1e-3:
                assert token_id == int(logits[position].argmax())
            for other, logprob in answer.logprobs[position].items():
                assert logprob.logprob == pytest.approx(float(expected[position, other]), abs=2e-3)


def test_chunks_and_prefix_hits_change_nothing(checkpoint: Checkpoint):
    outputs, _ = generate(checkpoint.folder)
    check(checkpoint.reference, outputs)
    assert sum(output.num_cached_tokens for output in outputs) >= 20


def test_preemption_changes_nothing(checkpoint: Checkpoint):
    group_bytes = KV_BYTES_PER_TOKEN[checkpoint.reference.config.model_type]
    outputs, num_preemptions = generate(checkpoint.folder, max_model_len=132, kv_cache_memory_bytes=140 * group_bytes)
    assert num_preemptions > 0
    check(checkpoint.reference, outputs)


def describe_prompts(folder: Path, **engine_args: Any) -> tuple[list[RequestOutput], int]:
    """Outputs with prompt logprobs, every other prompt for the second time, and how many requests lost their blocks."""
    params = SamplingParams(n=2, seed=0, max_tokens=30, prompt_logprobs=3, ignore_eos=True)
    with LLM(model=str(folder), dtype="float32", **{**CHUNKED, **engine_args}) as llm:
        again = [{"prompt_token_ids": tokens} for tokens in prompts()]
        llm.generate(again[::2], SamplingParams(max_tokens=1), use_tqdm=False)
        outputs = llm.generate(again, params, use_tqdm=False)
        return outputs, llm.engine.stats().num_preemptions


def check_prompts(reference: Any, outputs: list[RequestOutput]) -> None:
    """Holds what was said of each prompt against the reference's log-softmax."""
    for tokens, output in zip(prompts(), outputs, strict=True):
        assert output.prompt_logprobs is not None
        first, *others = output.prompt_logprobs
        assert first is None
        with torch.inference_mode():
            expected = reference(torch.tensor([tokens])).logits[0].log_softmax(-1)
        assert [next(iter(position)) for position in others if position] == tokens[1:]
        for row, position in zip(expected, others, strict=False):
            assert position is not None
            assert 3 <= len(position) <= 4
            assert set(position) >= {int(token_id) for token_id in row.topk(3).indices}
            for token_id, logprob in position.items():
                assert logprob.logprob == pytest.approx(float(row[token_id]), abs=2e-3)


def test_prompt_logprobs_are_the_reference_s(checkpoint: Checkpoint):
    outputs, _ = describe_prompts(checkpoint.folder)
    check_prompts(checkpoint.reference, outputs)
    group_bytes = KV_BYTES_PER_TOKEN[checkpoint.reference.config.model_type]
    outputs, num_preemptions = describe_prompts(
        checkpoint.folder, max_model_len=132, kv_cache_memory_bytes=140 * group_bytes
    )
    assert num_preemptions > 0
    check_prompts(checkpoint.reference, outputs)


@pytest.mark.cuda
def test_a_gpu_describes_prompts_the_same(checkpoint: Checkpoint):
    outputs, _ = describe_prompts(checkpoint.folder, device="cuda")
    check_prompts(checkpoint.reference, outputs)


@pytest.mark.cuda
def test_a_gpu_gives_the_same_answers(checkpoint: Checkpoint):
    outputs, _ = generate(checkpoint.folder, device="cuda")
    check(checkpoint.reference, outputs)
