import pytest
import torch

from vllm_local.sampling.sampling_metadata import SamplingMetadata, SamplingState
from vllm_local.sampling_params import SamplingParams
from vllm_local.step_io import NewRequestData

CPU = torch.device("cpu")


def state(prompt=(1, 2), answer=(), eos=(), seed=0, choice_index=0, **params):
    return SamplingState(
        NewRequestData(
            request_id="r",
            token_ids=[*prompt, *answer],
            num_prompt_tokens=len(prompt),
            num_computed_tokens=0,
            block_ids=([],),
            sampling_params=SamplingParams(**params),
            seed=seed,
            choice_index=choice_index,
            eos_token_ids=frozenset(eos),
        )
    )


def build(*states, vocab_size=100):
    return SamplingMetadata.build(states, vocab_size, CPU)


def test_rows_are_told_apart():
    metadata = build(
        state(temperature=0),
        state(temperature=0.5),
        state(temperature=1.5, top_k=3),
        state(temperature=1e-6, top_k=3),
        state(top_p=0.5, min_p=0.25),
    )
    assert metadata.greedy.tolist() == [0, 3]
    assert metadata.random.rows.tolist() == [1, 2, 4]
    assert metadata.random.temperature.flatten().tolist() == [0.5, 1.5, 1.0]
    assert metadata.random.unfiltered.tolist() == [0]
    assert metadata.random.filtered.tolist() == [1, 2]
    assert metadata.random.filters.top_k.tolist() == [3, 0]
    assert metadata.random.filters.top_p.tolist() == [1.0, 0.5]
    assert metadata.random.log_min_p is not None
    torch.testing.assert_close(metadata.random.log_min_p.exp().flatten(), torch.tensor([0.0, 0.0, 0.25]))


def test_a_top_k_as_wide_as_the_vocabulary_is_no_filter():
    assert build(state(top_k=100)).random.unfiltered.tolist() == [0]
    assert build(state(top_k=99)).random.filtered.tolist() == [0]


def test_steps_nobody_asks_for_are_empty():
    metadata = build(state(temperature=0), state())
    assert metadata.bias is None
    assert metadata.random.log_min_p is None
    assert metadata.allowed == ()
    assert metadata.held_back == ()
    assert metadata.penalised.counts == ()
    assert not len(metadata.logprob_rows)


def test_end_tokens_are_the_models_and_the_requests():
    assert state(eos=[9, 3], stop_token_ids=[5, 3]).end_token_ids == [3, 5, 9]


def test_min_tokens_without_an_end_token_holds_nothing_back():
    assert build(state(min_tokens=3)).held_back == ()


def test_logprobs_are_asked_for_by_row():
    metadata = build(state(), state(logprobs=0), state(logprobs=5))
    assert metadata.logprob_rows.tolist() == [1, 2]
    assert metadata.num_top_logprobs.tolist() == [0, 5]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, None),
        ({"presence_penalty": 1.0}, {4: 2, 5: 1}),
        ({"repetition_penalty": 1.1}, {1: 0, 2: 0, 4: 2, 5: 1}),
    ],
    ids=["none", "answer only", "prompt too"],
)
def test_counts_hold_what_the_penalties_need(params, expected):
    counts = state(prompt=(1, 2, 2), answer=(4, 5), **params)
    counts.append([4])
    if expected is None:
        assert counts.counts is None
    else:
        found = dict(zip(counts.counts.token_ids.tolist(), counts.counts.counts.tolist(), strict=True))
        assert found == expected


def test_uniforms_depend_on_seed_choice_and_position_alone():
    metadata = build(state(temperature=0), state(seed=5), state(seed=5), state(seed=5, choice_index=1), state(seed=6))
    metadata.output_positions[:] = [0, 3, 4, 3, 3]
    first = metadata.uniforms()
    assert len(first) == 4
    assert len(set(first.tolist())) == 4
    other = build(state(seed=6), state(seed=5))
    other.output_positions[:] = [3, 4]
    assert other.uniforms().tolist() == [first[3], first[1]]
