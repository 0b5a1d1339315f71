import numpy as np
import pytest
import torch

from vllm_local.sampling.masks import TokenBias, allow_only, apply_bias, apply_bitmask, forbid
from vllm_local.sampling_params import SamplingParams

CPU = torch.device("cpu")


def test_bias_is_added_where_it_belongs():
    params = [SamplingParams(logit_bias={2: 5, 0: -100}), SamplingParams(), SamplingParams(logit_bias={2: 1.5})]
    logits = torch.zeros(3, 4)
    apply_bias(logits, TokenBias.build(params, CPU))
    assert logits.tolist() == [[-100, 0, 5, 0], [0, 0, 0, 0], [0, 0, 1.5, 0]]


def test_no_bias_is_no_work():
    assert TokenBias.build([SamplingParams()], CPU) is None
    logits = torch.zeros(1, 4)
    apply_bias(logits, None)
    assert torch.equal(logits, torch.zeros(1, 4))


def test_allow_only_keeps_the_allowed_logits():
    logits = torch.arange(10.0).view(2, 5)
    allow_only(logits, 1, torch.tensor([0, 3]))
    assert logits.tolist() == [[0, 1, 2, 3, 4], [5, -np.inf, -np.inf, 8, -np.inf]]


def test_forbid_takes_the_given_tokens_only():
    logits = torch.arange(10.0).view(2, 5)
    forbid(logits, 0, torch.tensor([4, 1]))
    assert logits.tolist() == [[0, -np.inf, 2, 3, -np.inf], [5, 6, 7, 8, 9]]


def bitmask_of(allowed_rows, width):
    """Builds the words bit by bit."""
    words = np.zeros((len(allowed_rows), (width + 31) // 32), dtype=np.uint32)
    for row, allowed in enumerate(allowed_rows):
        for token in allowed:
            words[row, token // 32] |= np.uint32(1 << (token % 32))
    return words.view(np.int32)


@pytest.mark.parametrize("width", [32, 70, 128])
def test_bitmask_follows_its_bits(width):
    rows = [{0, 31, width - 1}, set(range(width)), {5}]
    logits = torch.zeros(3, width)
    apply_bitmask(logits, bitmask_of(rows, width))
    for row, allowed in enumerate(rows):
        assert set(torch.isfinite(logits[row]).nonzero()[:, 0].tolist()) == allowed


def test_bitmask_forbids_what_lies_beyond_it_in_constrained_rows():
    words = bitmask_of([{1}, set(range(64))], 64)
    logits = torch.zeros(2, 100)
    apply_bitmask(logits, words)
    assert torch.isfinite(logits[0]).nonzero()[:, 0].tolist() == [1]
    assert torch.isfinite(logits[1]).all()
