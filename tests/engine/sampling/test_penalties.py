import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from vllm_local.sampling.penalties import PenaltyRows, TokenCounts, apply_penalties, needs_counts
from vllm_local.sampling_params import SamplingParams

V = 128


def naive(logits, params, prompt, answer):
    """The definition, token by token."""
    result = logits.clone()
    for token in range(len(logits)):
        count = answer.count(token)
        if token in prompt or count:
            value = result[token]
            result[token] = value / params.repetition_penalty if value > 0 else value * params.repetition_penalty
        result[token] -= params.frequency_penalty * count + params.presence_penalty * (count > 0)
    return result


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(presence_penalty=1.5),
        SamplingParams(frequency_penalty=0.7),
        SamplingParams(repetition_penalty=1.8),
        SamplingParams(repetition_penalty=0.5),
        SamplingParams(presence_penalty=-2, frequency_penalty=-0.1, repetition_penalty=1.1),
    ],
    ids=["presence", "frequency", "repetition", "repetition below 1", "all"],
)
def test_penalties_follow_their_definition(params):
    prompt, answer = [3, 3, 9, 100], [9, 20, 20, 20, 127]
    logits = torch.randn(3, V, generator=torch.Generator().manual_seed(0))
    before = logits.clone()
    counts = TokenCounts(prompt, answer)
    apply_penalties(logits, PenaltyRows.build([(1, params, counts)]))
    torch.testing.assert_close(logits[1], naive(before[1], params, prompt, answer))
    assert torch.equal(logits[[0, 2]], before[[0, 2]])


def test_rows_have_their_own_penalties():
    first, second = SamplingParams(presence_penalty=1), SamplingParams(frequency_penalty=2, repetition_penalty=3)
    logits = torch.ones(2, V)
    apply_penalties(
        logits, PenaltyRows.build([(0, first, TokenCounts([], [5])), (1, second, TokenCounts([6], [7, 7]))])
    )
    torch.testing.assert_close(logits[0], naive(torch.ones(V), first, [], [5]))
    torch.testing.assert_close(logits[1], naive(torch.ones(V), second, [6], [7, 7]))


def test_an_empty_answer_changes_nothing():
    logits = torch.ones(1, V)
    apply_penalties(logits, PenaltyRows.build([(0, SamplingParams(presence_penalty=1), TokenCounts([], []))]))
    assert torch.equal(logits, torch.ones(1, V))


def test_no_rows_change_nothing():
    logits = torch.ones(1, V)
    apply_penalties(logits, PenaltyRows.build([]))
    assert torch.equal(logits, torch.ones(1, V))


@given(
    prompt=st.lists(st.integers(0, 300), max_size=200),
    answer=st.lists(st.integers(0, 300), max_size=200),
    cut=st.integers(0, 200),
)
def test_counting_step_by_step_equals_counting_at_once(prompt, answer, cut):
    stepwise = TokenCounts(prompt, answer[:cut])
    for token in answer[cut:]:
        stepwise.append([token])
    expected = {token: answer.count(token) for token in {*prompt, *answer}}
    assert dict(zip(stepwise.token_ids.tolist(), stepwise.counts.tolist(), strict=True)) == expected
    assert len(stepwise.token_ids) == len(np.unique(stepwise.token_ids))


@pytest.mark.parametrize("step", [1, 50, 1000])
def test_counts_outgrow_their_first_arrays(step):
    answer = [*range(0, 1000, 2), *range(0, 1000, 4)]
    counts = TokenCounts(range(300), answer[:0])
    for start in range(0, len(answer), step):
        counts.append(answer[start : start + step])
    found = dict(zip(counts.token_ids.tolist(), counts.counts.tolist(), strict=True))
    assert found == {token: answer.count(token) for token in {*range(300), *answer}}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (SamplingParams(), False),
        (SamplingParams(presence_penalty=0.1), True),
        (SamplingParams(frequency_penalty=-0.1), True),
        (SamplingParams(repetition_penalty=0.9), True),
    ],
)
def test_only_penalties_need_counts(params, expected):
    assert needs_counts(params) is expected
