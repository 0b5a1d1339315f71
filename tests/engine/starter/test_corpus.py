import pytest
import torch
from tokenizers import Tokenizer

from vllm_local.starter import starter_path
from vllm_local.starter.corpus import Corpus, Mixture, Sample
from vllm_local.starter.tokenizer import END, PAD, token_id

MIXTURE = Mixture(((256, 80), (1024, 20)), drills=0.1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(starter_path() / "tokenizer.json"))


@pytest.fixture(scope="module")
def batches(tokenizer):
    corpus = Corpus(tokenizer, 0, 1024)
    return corpus.batches(corpus.samples(5, MIXTURE, 80_000))


def test_a_block_depends_on_seed_part_and_number_alone(tokenizer):
    def block(seed: int, part: int, number: int) -> list[Sample]:
        return Corpus(tokenizer, seed, 512, part).samples(number, MIXTURE, 2_000)

    assert block(0, 0, 1) == block(0, 0, 1)
    assert all(block(0, 0, 1) != other for other in (block(1, 0, 1), block(0, 1, 1), block(0, 0, 2)))


def test_a_block_is_of_so_many_tokens_and_its_longest_come_first(tokenizer):
    lengths = [len(sample.tokens) for sample in Corpus(tokenizer, 0, 512).samples(2, MIXTURE, 3_000)]
    assert 3_000 <= sum(lengths) < 3_000 + max(lengths)
    assert lengths == sorted(lengths, reverse=True)


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


@pytest.mark.parametrize("tokens", [2_000, 20_000])
def test_a_block_has_exactly_so_many_steps_whatever_its_tokens(tokenizer, tokens):
    corpus = Corpus(tokenizer, 0, 512)
    samples = corpus.samples(1, Mixture(((256, 1),), 0.1), tokens)
    steps = corpus.steps(1, samples, steps=6, step_batches=3)
    assert [len(step) for step in steps] == [3] * 6
    known = {tuple(sample.tokens) for sample in samples}
    pad = token_id(tokenizer, PAD)
    for batch in (batch for step in steps for batch in step):
        assert {tuple(token for token in row if token != pad) for row in batch.tokens.tolist()} <= known


def test_all_parts_take_their_batches_in_one_order_of_lengths(tokenizer):
    lengths = []
    for part in range(2):
        corpus = Corpus(tokenizer, 0, 512, part)
        steps = corpus.steps(1, corpus.samples(1, MIXTURE, 20_000), steps=20, step_batches=1)
        lengths.append([step[0].tokens.shape[1] for step in steps])
    assert lengths[0] != sorted(lengths[0])
    assert torch.corrcoef(torch.tensor(lengths).float())[0, 1] > 0.9
