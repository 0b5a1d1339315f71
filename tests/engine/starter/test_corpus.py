import pytest
import torch
from tokenizers import Tokenizer

from vllm_local.starter import starter_path
from vllm_local.starter.corpus import Corpus, Mixture
from vllm_local.starter.tokenizer import END, PAD, token_id

MIXTURE = Mixture(((256, 80), (1024, 20)), drills=0.1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(starter_path() / "tokenizer.json"))


@pytest.fixture(scope="module")
def batches(tokenizer):
    return [batch for step in Corpus(tokenizer, 0, 1024, 4).block(5, MIXTURE, steps=20) for batch in step]


def test_a_block_depends_on_seed_and_number_alone(tokenizer):
    def first(seed: int, number: int) -> torch.Tensor:
        return Corpus(tokenizer, seed, 512, 2).block(number, MIXTURE, steps=2)[0][0].tokens

    assert torch.equal(first(0, 1), first(0, 1))
    assert not torch.equal(first(0, 1)[:1, :8], first(0, 2)[:1, :8]) or first(0, 1).shape != first(0, 2).shape


def test_batches_hold_little_padding(tokenizer, batches):
    tokens = torch.cat([batch.tokens.flatten() for batch in batches])
    assert (tokens == token_id(tokenizer, PAD)).float().mean() < 0.12
    assert all(batch.tokens.numel() <= 1024 or len(batch.tokens) == 1 for batch in batches)


def test_targets_are_the_next_tokens(tokenizer, batches):
    pad = token_id(tokenizer, PAD)
    for batch in batches:
        known = batch.targets[:, :-1] != -100
        assert torch.equal(batch.targets[:, :-1][known], batch.tokens[:, 1:][known])
        assert not (batch.targets == pad).any()
        assert not (batch.answers & (batch.targets == -100)).any()


def test_answers_end_with_the_end_token_and_prompts_are_none(tokenizer, batches):
    end = token_id(tokenizer, END)
    for batch in batches:
        for tokens, targets, answers in zip(batch.tokens, batch.targets, batch.answers, strict=True):
            positions = answers.nonzero().flatten().tolist()
            runs = [position for position in positions if position + 1 not in positions]
            assert positions
            assert all(int(targets[position]) == end for position in runs)
            before = tokenizer.decode(tokens[: positions[0] + 1].tolist(), skip_special_tokens=False)
            assert before.endswith(("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n"))


def test_the_thought_that_the_template_opens_is_no_target(tokenizer, batches):
    think = token_id(tokenizer, "<think>")
    assert any((batch.tokens == think).any() for batch in batches)
    assert not any((batch.targets == think).any() for batch in batches)


def test_a_step_takes_so_many_batches(tokenizer):
    steps = Corpus(tokenizer, 0, 512, 6).block(1, Mixture(((256, 1),), 0.1), steps=6)
    assert {len(step) for step in steps[:-1]} == {6}
    assert 5 <= len(steps) <= 10
