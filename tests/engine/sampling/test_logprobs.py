import numpy as np
import pytest
import torch

from vllm_local.sampling.logprobs import compute_logprobs


@pytest.mark.parametrize("width", [128, 152_064])
def test_logprobs_ranks_and_alternatives_match_log_softmax(width):
    logits = torch.randn(3, width, generator=torch.Generator().manual_seed(0)) * 4
    token_ids = np.array([5, int(logits[1].argmax()), 77])
    num_top = np.array([0, 3, 20])
    expected = logits.double().log_softmax(1)
    for row, result in enumerate(compute_logprobs(logits.clone(), token_ids, num_top)):
        assert result.token_id == token_ids[row]
        assert result.logprob == pytest.approx(float(expected[row, token_ids[row]]), abs=1e-4)
        assert result.rank == 1 + int((logits[row] > logits[row, token_ids[row]]).sum())
        values, best = expected[row].topk(int(num_top[row]))
        assert result.top_token_ids == tuple(best.tolist())
        assert result.top_logprobs == pytest.approx(values.tolist(), abs=1e-4)


def test_equals_share_the_best_rank_and_list_lower_ids_first():
    logits = torch.full((1, 128), -torch.inf)
    logits[0, [7, 3, 90]] = torch.tensor([1.0, 1.0, 0.0])
    (result,) = compute_logprobs(logits, np.array([7]), np.array([3]))
    assert result.rank == 1
    assert result.top_token_ids == (3, 7, 90)
    assert np.exp(result.top_logprobs).sum() == pytest.approx(1.0)


def test_only_plain_numbers_come_out():
    (result,) = compute_logprobs(torch.zeros(1, 128), np.array([1]), np.array([2]))
    kinds = {type(result.token_id), type(result.rank), *map(type, result.top_token_ids)}
    assert kinds == {int}
    assert {type(result.logprob), *map(type, result.top_logprobs)} == {float}


@pytest.mark.parametrize("width", [128, 152_064])
def test_named_tokens_stand_in_for_the_best(width):
    logits = torch.randn(3, width, generator=torch.Generator().manual_seed(0)) * 4
    expected = logits.double().log_softmax(1)
    first, named, last = compute_logprobs(logits.clone(), np.array([5, 6, 7]), np.array([2, 0, 0]), {1: (100, 6, 3)})
    assert len(first.top_token_ids) == 2
    assert (first.top_ranks, last.top_token_ids) == (None, ())
    assert (named.token_id, named.top_token_ids) == (6, (100, 6, 3))
    assert named.top_logprobs == pytest.approx(expected[1, [100, 6, 3]].tolist(), abs=1e-4)
    assert named.top_ranks == tuple(1 + int((logits[1] > logits[1, token]).sum()) for token in (100, 6, 3))
    assert {type(number) for number in (*named.top_logprobs, *named.top_ranks)} == {float, int}
