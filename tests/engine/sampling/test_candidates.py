import numpy as np
import pytest
import torch

from tests.engine.sampling.reference import chi_square, distribution
from vllm_local.sampling import candidates
from vllm_local.sampling.blocks import pad_to_blocks
from vllm_local.sampling.candidates import (
    TokenFilters,
    apply_min_p,
    draw_filtered,
    filter_candidates,
    top_candidates,
)
from vllm_local.sampling_params import SamplingParams

DRAWS = 4000


def random_logits(rows, width, seed=0, spread=3.0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * spread


def scale(logits):
    return pad_to_blocks(logits - logits.amax(1, keepdim=True))


def filters(*pairs):
    return TokenFilters(np.array([k for k, _ in pairs]), np.array([p for _, p in pairs], dtype=np.float64))


def sizes_tried(monkeypatch):
    """Records how many candidates each attempt asked for."""
    tried = []
    original = candidates.top_candidates

    def record(rows, count):
        tried.append((len(rows), count))
        return original(rows, count)

    monkeypatch.setattr(candidates, "top_candidates", record)
    return tried


@pytest.mark.parametrize(("width", "count"), [(1024, 64), (1024, 1024), (65_536, 64), (65_536, 20), (152_064, 1024)])
@pytest.mark.parametrize("spread", [3.0, 0.5], ids=["few ties", "many ties"])
def test_top_candidates_are_those_of_a_sort(width, count, spread):
    rows = random_logits(3, width, spread=spread)
    rows = rows if spread == 3.0 else (rows * 4).round()
    values, token_ids = top_candidates(rows, count)
    numbers = rows.double().numpy()
    expected = -np.sort(-numbers, axis=1)[:, :count]
    assert np.array_equal(values, expected)
    assert np.array_equal(np.take_along_axis(numbers, token_ids, 1), values)
    for row in range(3):
        assert len(set(token_ids[row].tolist())) == count
        certain = values[row] > values[row, -1]
        order = np.argsort(-numbers[row], kind="stable")[:count]
        assert np.array_equal(token_ids[row][certain], order[certain])


CASES = {
    "top_k": SamplingParams(top_k=7),
    "top_k 1": SamplingParams(top_k=1),
    "top_p": SamplingParams(top_p=0.8),
    "top_p tiny": SamplingParams(top_p=1e-6),
    "top_p wide": SamplingParams(top_p=0.999),
    "top_k and top_p": SamplingParams(top_k=20, top_p=0.7),
    "min_p": SamplingParams(min_p=0.1),
    "min_p and top_p": SamplingParams(min_p=0.2, top_p=0.6),
    "min_p, top_k and top_p": SamplingParams(min_p=0.05, top_k=12, top_p=0.9),
    "hot": SamplingParams(temperature=2.0, top_k=100, top_p=0.95),
    "cold": SamplingParams(temperature=0.3, top_p=0.9),
}


@pytest.mark.parametrize("params", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("width", [50, 300, 1500])
def test_draws_have_the_distribution_of_the_definition(params, width):
    logits = random_logits(1, width, seed=width, spread=1.5)
    scaled = scale(logits) / params.temperature
    if params.min_p:
        apply_min_p(scaled, torch.tensor([[params.min_p]]).log())
    expected = distribution(logits[0].numpy(), params)
    rows = filters(*[(params.top_k if params.top_k < width else 0, params.top_p)] * 500)
    uniforms = np.random.default_rng(5).random(DRAWS).reshape(-1, 500)
    tokens = np.concatenate([draw_filtered(scaled.expand(500, -1), rows, part) for part in uniforms])
    if (expected > 0).sum() > 1:
        assert chi_square(tokens, np.pad(expected, (0, scaled.shape[1] - width))) < 1
    else:
        assert set(tokens.tolist()) == {int(expected.argmax())}


@pytest.mark.parametrize(
    ("top_k", "top_p", "spread", "expected"),
    [
        (50, 1.0, 3.0, [80]),
        (0, 0.3, 3.0, [80]),
        (64, 1.0, 3.0, [80]),
        (80, 1.0, 3.0, [80, 1024]),  # whether others equal the 80th cannot be seen from 80
        (500, 0.9, 3.0, [80, 1024]),
        (0, 0.9, 1.0, [80, 1024, 4096]),
        (3000, 1.0, 3.0, [80, 1024, 4096]),
        (0, 0.999_999, 3.0, [80, 1024, 4096]),
    ],
)
def test_more_candidates_are_taken_where_fewer_do_not_suffice(monkeypatch, top_k, top_p, spread, expected):
    tried = sizes_tried(monkeypatch)
    logits = random_logits(1, 4096, spread=spread)
    uniforms = np.random.default_rng(6).random(1)
    token = int(draw_filtered(scale(logits), filters((top_k, top_p)), uniforms)[0])
    assert [count for _, count in tried] == expected
    assert distribution(logits[0].numpy(), SamplingParams(top_k=top_k, top_p=top_p))[token] > 0


def test_only_the_rows_in_need_go_on(monkeypatch):
    tried = sizes_tried(monkeypatch)
    rows = filters((5, 1.0), (2000, 1.0), (100, 0.5), (0, 0.1))
    draw_filtered(scale(random_logits(4, 4096)), rows, np.full(4, 0.5))
    assert tried == [(4, 80), (2, 1024), (1, 4096)]


@pytest.mark.parametrize(("top_k", "top_p"), [(10, 1.0), (0, 0.5), (10, 0.9)])
def test_the_number_of_candidates_does_not_change_the_draw(monkeypatch, top_k, top_p):
    scaled = scale(random_logits(20, 2048, spread=4.0))
    uniforms = np.random.default_rng(7).random(20)
    rows = filters(*[(top_k, top_p)] * 20)
    usual = draw_filtered(scaled, rows, uniforms)
    for counts in ((512,), ()):
        monkeypatch.setattr(candidates, "CANDIDATE_COUNTS", counts)
        assert draw_filtered(scaled, rows, uniforms).tolist() == usual.tolist()


def test_ties_with_the_last_of_top_k_stay_in():
    logits = torch.zeros(1, 4096)
    logits[0, :3] = 5.0
    uniforms = np.random.default_rng(8).random(DRAWS)
    rows = filters(*[(2, 1.0)] * DRAWS)
    tokens = draw_filtered(scale(logits).expand(DRAWS, -1), rows, uniforms)
    assert chi_square(tokens, np.array([1 / 3] * 3)) < 1


def test_ties_beyond_the_candidates_are_found():
    logits = torch.zeros(1, 4096)
    logits[0, 0] = 1.0
    uniforms = np.random.default_rng(9).random(40)
    tokens = [int(draw_filtered(scale(logits), filters((2, 1.0)), uniforms[[i]])[0]) for i in range(40)]
    assert max(tokens) > 1024


def test_among_equals_top_p_keeps_the_lower_ids():
    logits = torch.zeros(1, 1024)
    tokens = draw_filtered(
        scale(logits).expand(500, -1), filters(*[(0, 0.25)] * 500), np.random.default_rng(1).random(500)
    )
    assert tokens.max() < 256
    assert tokens.max() > 200


def test_impossible_tokens_are_never_drawn():
    logits = torch.full((1, 512), -torch.inf)
    logits[0, [3, 400]] = torch.tensor([0.0, 1.0])
    rows = filters(*[(0, 0.999)] * 200)
    tokens = draw_filtered(scale(logits).expand(200, -1), rows, np.random.default_rng(2).random(200))
    assert set(tokens.tolist()) == {3, 400}


def test_a_big_vocabulary_draws_from_the_right_tokens():
    logits = random_logits(6, 151_936, spread=2.0)
    pairs = [(50, 1.0), (0, 0.5), (50, 0.9), (700, 0.99), (1, 1.0), (0, 0.9)]
    scaled, rows = scale(logits), filters(*pairs)
    seen: list[set[int]] = [set() for _ in pairs]
    for uniforms in np.random.default_rng(10).random((5, 6)):
        for row, token in enumerate(draw_filtered(scaled, rows, uniforms).tolist()):
            seen[row].add(token)
    for row, (top_k, top_p) in enumerate(pairs):
        expected = distribution(logits[row].numpy(), SamplingParams(top_k=top_k, top_p=top_p))
        assert all(expected[token] > 0 for token in seen[row])
    assert seen[4] == {int(logits[4].argmax())}


def test_filtering_says_when_candidates_are_too_few():
    values = np.log(np.array([[0.4, 0.2, 0.1], [0.4, 0.2, 0.1], [0.4, 0.2, 0.1], [0.4, 0.2, 0.2], [0.4, 0.2, 0.1]]))
    rows = filters((0, 0.5), (0, 0.9), (2, 1.0), (2, 1.0), (4, 1.0))
    weights, complete = filter_candidates(values, rows, np.ones(5), width=10)
    assert complete.tolist() == [True, False, True, False, False]
    np.testing.assert_allclose(weights[0], [0.4, 0.2, 0])
    np.testing.assert_allclose(weights[2], [0.4, 0.2, 0])
    assert filter_candidates(values, rows, np.ones(5), width=3)[1].all()
