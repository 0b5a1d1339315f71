import numpy as np
import pytest
import torch

from tests.engine.sampling.reference import chi_square, distribution
from vllm_local.kernels.cpu.library import load_library
from vllm_local.sampling import sampler as sampler_module
from vllm_local.sampling.native_backend import NativeSampling
from vllm_local.sampling.sampler import Sampler
from vllm_local.sampling.sampling_metadata import SamplingMetadata, SamplingState
from vllm_local.sampling.torch_backend import TorchSampling
from vllm_local.sampling_params import SamplingParams
from vllm_local.step_io import NewRequestData

V = 300
EOS = 7


@pytest.fixture(autouse=True, params=["torch", "native"])
def _backend(request, monkeypatch):
    """Runs every test by torch's operators and by the native library."""
    if request.param == "torch":
        return
    library = load_library()
    if library is None:
        pytest.skip("the native library was not built")
    monkeypatch.setattr(sampler_module, "TorchSampling", lambda: NativeSampling(library))


def state(seed=0, answer=(), choice_index=0, prompt=(1, 2), bad_words=(), **params):
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
            eos_token_ids=frozenset([EOS]),
            bad_words_token_ids=bad_words,
        )
    )


def random_logits(rows, width=V, seed=0, spread=2.0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * spread


def sample(logits, states, positions=None, bitmask=None):
    metadata = SamplingMetadata.build(states, logits.shape[1], torch.device("cpu"))
    if positions is not None:
        metadata.output_positions[:] = positions
    return Sampler().sample(logits.clone(), metadata, bitmask)


def test_greedy_rows_take_the_largest():
    logits = random_logits(5)
    assert sample(logits, [state(temperature=0)] * 5).token_ids == logits.argmax(1).tolist()


def test_greedy_rows_take_the_lowest_id_among_equals():
    logits = torch.zeros(1, V)
    logits[0, [290, 11, 130]] = 1.0
    assert sample(logits, [state(temperature=0)]).token_ids == [11]


def test_greedy_heeds_bias_masks_and_penalties():
    logits = torch.zeros(5, V)
    logits[:, 20], logits[:, 21] = 5.0, 4.5
    states = [
        state(temperature=0, logit_bias={33: 6.0}),
        state(temperature=0, allowed_token_ids=[40, 41]),
        state(temperature=0, presence_penalty=1.0, answer=[20]),
        state(temperature=0, repetition_penalty=1.5, prompt=(20,)),
        state(temperature=0, frequency_penalty=0.3, answer=[20, 20]),
    ]
    assert sample(logits, states).token_ids == [33, 40, 21, 21, 21]


def test_end_tokens_are_held_back_until_min_tokens():
    logits = torch.zeros(3, V)
    logits[:, EOS], logits[:, 9], logits[:, 50] = 9.0, 8.0, 7.0
    states = [state(temperature=0, min_tokens=2, stop_token_ids=[9])] * 3
    assert sample(logits, states, positions=[0, 1, 2]).token_ids == [50, 50, EOS]


def test_the_bitmask_rules_greedy_and_random_rows():
    logits = random_logits(3)
    words = np.full((3, 10), -1, dtype=np.int32)
    words[:2] = 0
    words[0, 4] = words[1, 9] = 1 << 3
    found = sample(logits, [state(temperature=0), state(), state(temperature=0)], bitmask=words).token_ids
    assert found == [131, 291, int(logits[2].argmax())]


PARAMS = [
    SamplingParams(),
    SamplingParams(temperature=0.4),
    SamplingParams(temperature=1.7, min_p=0.1),
    SamplingParams(top_k=5),
    SamplingParams(top_p=0.7, temperature=0.8),
    SamplingParams(top_k=30, top_p=0.9, min_p=0.02, temperature=1.3),
]


def test_each_row_of_a_mixed_batch_has_its_own_distribution():
    logits = random_logits(1).expand(len(PARAMS), -1)
    states = []
    for row, params in enumerate(PARAMS):
        new = NewRequestData("r", [1], 1, 0, ([],), params, seed=row)
        states.append(SamplingState(new))
    metadata = SamplingMetadata.build(states, V, torch.device("cpu"))
    drawn = []
    for position in range(3000):
        metadata.output_positions[:] = position
        drawn.append(Sampler().sample(logits.clone(), metadata).token_ids)
    for row, params in enumerate(PARAMS):
        tokens = np.array(drawn)[:, row]
        assert chi_square(tokens, distribution(logits[row].numpy(), params)) < 1, params


def test_bias_and_penalties_shift_the_distribution():
    logits = random_logits(1)
    states = [state(seed=3, logit_bias={5: 3.0, 6: -100}, presence_penalty=1.0, frequency_penalty=0.5, answer=[8, 8])]
    shifted = logits[0].numpy().copy()
    shifted[5] += 3
    shifted[6] -= 100
    shifted[8] -= 2.0
    tokens = [sample(logits, states, positions=[position]).token_ids[0] for position in range(3000)]
    assert chi_square(np.array(tokens), distribution(shifted, SamplingParams())) < 1


@pytest.mark.parametrize("width", [300, 151_936])
def test_a_draw_depends_on_its_own_row_alone(width):
    logits = random_logits(9, width)
    kinds: list[dict] = [
        {},
        {"top_k": 20},
        {"top_p": 0.4},
        {"min_p": 0.05},
        {"temperature": 0},
        {"top_k": 2000, "top_p": 0.9},
    ]
    states = [state(seed=row, choice_index=row % 3, **kinds[row % len(kinds)]) for row in range(9)]
    positions = np.arange(9) * 31
    together = sample(logits, states, positions).token_ids
    order = np.random.default_rng(0).permutation(9)
    shuffled = sample(logits[order], [states[row] for row in order], positions[order]).token_ids
    alone = [sample(logits[[row]], [states[row]], positions[[row]]).token_ids[0] for row in range(9)]
    assert together == alone
    assert shuffled == [together[row] for row in order]


def test_rows_of_one_request_draw_with_their_positions_numbers():
    logits = random_logits(1).expand(4, -1)
    one = state(seed=11)
    together = sample(logits, [one] * 4, [5, 6, 7, 8]).token_ids
    single = [sample(logits[:1], [state(seed=11)], [position]).token_ids[0] for position in (5, 6, 7, 8)]
    assert together == single


def test_logprobs_are_the_models_own_and_for_rows_that_ask():
    logits = random_logits(3)
    states = [
        state(temperature=0),
        state(temperature=0.2, logprobs=2, logit_bias={123: 100}),
        state(temperature=0, logprobs=0),
    ]
    found = sample(logits, states)
    expected = logits.log_softmax(1)
    assert sorted(found.logprobs) == [1, 2]
    assert found.logprobs[1].token_id == found.token_ids[1] == 123
    assert found.logprobs[1].logprob == pytest.approx(float(expected[1, 123]), abs=1e-5)
    assert found.logprobs[1].top_token_ids == tuple(logits[1].topk(2).indices.tolist())
    assert found.logprobs[2].top_token_ids == ()
    assert found.logprobs[2].rank == 1


def test_a_row_may_name_the_tokens_to_describe():
    logits = random_logits(3)
    found = sample(logits, [state(logprobs=1), state(temperature=0, logprob_token_ids=[9, 2]), state(seed=4)])
    expected = logits.log_softmax(1)
    assert sorted(found.logprobs) == [0, 1]
    assert found.logprobs[1].top_token_ids == (9, 2)
    assert found.logprobs[1].top_logprobs == pytest.approx(expected[1, [9, 2]].tolist(), abs=1e-5)
    assert found.logprobs[1].rank == 1
    assert len(found.logprobs[0].top_token_ids) == 1


def test_bad_words_are_forbidden_as_the_answer_goes_on():
    logits = torch.zeros(2, V)
    logits[:, 20], logits[:, 21], logits[:, 22] = 5.0, 4.0, 3.0
    states = [state(temperature=0, bad_words=((20,), (22, 21))), state(temperature=0)]
    assert sample(logits, states).token_ids == [21, 20]
    states[0].append([22])
    assert sample(logits, states).token_ids == [22, 20]
    assert sample(logits[:1], [state(temperature=0, bad_words=((22, 20),), answer=[22])]).token_ids == [21]


def test_bad_words_are_never_drawn():
    logits = random_logits(1)
    shifted = logits[0].numpy().copy()
    shifted[[5, 8]] = -np.inf
    words = state(seed=3, bad_words=((5,), (7, 8)), answer=[7])
    tokens = [sample(logits, [words], positions=[position]).token_ids[0] for position in range(3000)]
    assert chi_square(np.array(tokens), distribution(shifted, SamplingParams())) < 1


def test_tokens_that_are_there_are_described():
    logits = random_logits(4)
    expected = logits.double().log_softmax(1)
    logits[2, 17] = torch.nan
    found = Sampler().describe(logits.clone(), np.array([3, 4, 5, 6]), np.array([0, 2, 2, 1]))
    assert sorted(found.logprobs) == [0, 1, 3]
    assert list(found.errors) == [2]
    assert "no numbers (nan) for the prompt" in found.errors[2]
    for row, (token_id, count) in {0: (3, 0), 1: (4, 2), 3: (6, 1)}.items():
        item = found.logprobs[row]
        assert (item.token_id, len(item.top_token_ids)) == (token_id, count)
        assert item.logprob == pytest.approx(float(expected[row, token_id]), abs=1e-5)
        assert item.top_logprobs == pytest.approx(expected[row].topk(count).values.tolist(), abs=1e-5)


def test_a_prompt_of_which_nothing_can_be_described():
    found = Sampler().describe(torch.full((2, V), torch.nan), np.array([3, 4]), np.array([0, 2]))
    assert (found.logprobs, list(found.errors)) == ({}, [0, 1])


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
@pytest.mark.parametrize("params", [{}, {"temperature": 0}, {"top_p": 0.5, "min_p": 0.1, "logprobs": 3}])
def test_logits_that_are_no_numbers_fail_their_row_only(poison, params):
    logits = random_logits(3)
    sound = sample(logits, [state(seed=1), state(seed=2, **params), state(seed=3, logprobs=1)])
    logits[1, 17] = poison
    found = sample(logits, [state(seed=1), state(seed=2, **params), state(seed=3, logprobs=1)])
    assert list(found.errors) == [1]
    assert "no numbers" in found.errors[1]
    assert 0 <= found.token_ids[1] < V
    assert [found.token_ids[row] for row in (0, 2)] == [sound.token_ids[row] for row in (0, 2)]
    assert list(found.logprobs) == [2]


def test_a_row_in_which_nothing_is_allowed_says_so():
    logits = random_logits(2)
    states = [state(temperature=0, allowed_token_ids=[EOS], min_tokens=3), state(temperature=0)]
    found = sample(logits, states, positions=[2, 0])
    assert list(found.errors) == [0]
    assert "allowed_token_ids" in found.errors[0]
    assert "position 2" in found.errors[0]
    assert found.token_ids[1] == int(logits[1].argmax())


def test_an_extreme_temperature_is_still_a_distribution():
    logits = random_logits(1) * 1e4
    assert sample(logits, [state(temperature=1e-4)]).token_ids == logits.argmax(1).tolist()
    assert sample(logits, [state(temperature=1e-4, top_p=0.5)]).token_ids == logits.argmax(1).tolist()


@pytest.mark.cuda
def test_a_gpu_samples_what_the_cpu_samples():
    logits = random_logits(6, 4096)
    kinds: list[dict] = [
        {},
        {"top_k": 20, "logprobs": 2},
        {"top_p": 0.4, "logit_bias": {5: 2.0}},
        {"min_p": 0.05, "presence_penalty": 1.0},
        {"temperature": 0, "min_tokens": 2},
        {"allowed_token_ids": [1, 2, 3], "top_k": 2000},
    ]
    states = [state(seed=row, **kind) for row, kind in enumerate(kinds)]
    expected = sample(logits, states)
    device = torch.device("cuda")
    found = Sampler(TorchSampling()).sample(logits.to(device), SamplingMetadata.build(states, 4096, device))
    assert found.token_ids == expected.token_ids
    assert found.logprobs[1].top_token_ids == expected.logprobs[1].top_token_ids
    assert found.logprobs[1].logprob == pytest.approx(expected.logprobs[1].logprob, abs=1e-4)
