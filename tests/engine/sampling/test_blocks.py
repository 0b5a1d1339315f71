import numpy as np
import pytest
import torch

from tests.engine.sampling.reference import chi_square
from vllm_local.sampling.blocks import (
    BLOCK_SIZE,
    argmax,
    block_maxima,
    draw_from_all,
    pad_to_blocks,
    pick,
    total_weight,
)


def random_logits(rows, width, seed=0, spread=3.0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * spread


def scale(logits):
    return logits - logits.amax(1, keepdim=True)


@pytest.mark.parametrize("width", [1, 127, 128, 129, 1000])
def test_padding_adds_impossible_tokens(width):
    logits = random_logits(2, width)
    padded = pad_to_blocks(logits)
    assert padded.shape[1] % BLOCK_SIZE == 0
    assert torch.equal(padded[:, :width], logits)
    assert torch.isneginf(padded[:, width:]).all()


def test_a_whole_number_of_blocks_is_not_copied():
    logits = random_logits(2, 256)
    assert pad_to_blocks(logits) is logits


def test_argmax_is_that_of_torch_and_the_lowest_among_equals():
    logits = random_logits(50, 1024).round()
    assert (logits == logits.amax(1, keepdim=True)).sum(1).max() > 1
    expected = [row.tolist().index(max(row.tolist())) for row in logits]
    assert argmax(logits, block_maxima(logits)).tolist() == expected


def test_maxima_pass_on_nan():
    logits = torch.zeros(1, 256)
    logits[0, 200] = torch.nan
    assert torch.isnan(block_maxima(logits)).tolist() == [[False, True]]


def test_total_weight_is_the_sum_of_exp():
    scaled = scale(random_logits(5, 151_936))
    np.testing.assert_allclose(total_weight(scaled), np.exp(scaled.double().numpy()).sum(1), rtol=1e-6)


def test_pick_inverts_the_distribution_function():
    weights = np.array([[0.0, 1.0, 0.0, 3.0]] * 5)
    index, rest = pick(weights, np.array([0.0, 0.24, 0.25, 0.9, 1 - 2**-53]))
    assert index.tolist() == [1, 1, 3, 3, 3]
    np.testing.assert_allclose(rest, [0, 0.96, 0, (0.9 - 0.25) / 0.75, 1], atol=1e-12)


def test_pick_never_takes_weight_zero():
    weights = np.zeros((1000, 300))
    weights[:, 137] = 1e-3
    index, _ = pick(weights, np.random.default_rng(0).random(1000))
    assert set(index.tolist()) == {137}


def test_draws_are_those_of_the_whole_distribution_function():
    scaled = scale(random_logits(40, 1024))
    uniforms = np.random.default_rng(1).random(40)
    cumulative = np.exp(scaled.double().numpy()).cumsum(1)
    expected = (cumulative <= uniforms[:, None] * cumulative[:, -1:]).sum(1)
    assert draw_from_all(scaled, uniforms).tolist() == expected.tolist()


def test_draws_have_the_right_distribution():
    scaled = scale(random_logits(1, 1024, spread=1.5))
    weights = np.exp(scaled[0].double().numpy())
    uniforms = np.random.default_rng(2).random(40_000)
    tokens = np.concatenate([draw_from_all(scaled.expand(1000, -1), part) for part in np.split(uniforms, 40)])
    assert chi_square(tokens, weights / weights.sum()) < 1


def test_draws_of_a_big_vocabulary_have_the_right_distribution():
    width, draws = 151_936, 4000
    scaled = scale(random_logits(1, width, spread=1.0))
    weights = np.exp(scaled[0].double().numpy())
    uniforms = np.random.default_rng(3).random(draws)
    tokens = np.concatenate([draw_from_all(scaled, uniforms[[draw]]) for draw in range(draws)])
    probabilities = weights / weights.sum()
    inside = np.bincount(np.arange(width) % BLOCK_SIZE, weights=probabilities)
    assert chi_square(tokens % BLOCK_SIZE, inside) < 1
    assert chi_square(tokens // (width // 16), probabilities.reshape(16, -1).sum(1)) < 1


def test_a_draw_does_not_depend_on_the_other_rows():
    scaled = scale(random_logits(33, 4096))
    uniforms = np.random.default_rng(4).random(33)
    alone = [draw_from_all(scaled[[row]], uniforms[[row]])[0] for row in range(33)]
    assert draw_from_all(scaled, uniforms).tolist() == alone
