"""Native sampling against its torch twin, on every instruction set."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.engine.sampling.reference import chi_square, distribution
from vllm_local.kernels.cpu.library import NativeLibrary
from vllm_local.sampling.backend import LogprobRequest
from vllm_local.sampling.native_backend import NativeSampling
from vllm_local.sampling.sampling_metadata import SamplingMetadata, SamplingState
from vllm_local.sampling.torch_backend import TorchSampling
from vllm_local.sampling_params import SamplingParams
from vllm_local.step_io import NewRequestData

WIDTHS = [1, 100, 128, 300, 151_936]
PARAMS = [
    SamplingParams(temperature=0),
    SamplingParams(),
    SamplingParams(temperature=0.4),
    SamplingParams(temperature=1.7, min_p=0.1),
    SamplingParams(top_k=1),
    SamplingParams(top_k=50),
    SamplingParams(top_k=2000, top_p=0.9),
    SamplingParams(top_k=100_000, top_p=0.999),
    SamplingParams(top_p=0.7, temperature=0.8),
    SamplingParams(top_p=0.9999, temperature=2.0),
    SamplingParams(top_p=1e-6),
    SamplingParams(top_k=30, top_p=0.9, min_p=0.02, temperature=1.3),
]


def make_logits(num_rows: int, width: int, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(num_rows, width, generator=torch.Generator().manual_seed(width)) * spread


def make_metadata(params: list[SamplingParams], width: int, position: int = 0) -> SamplingMetadata:
    new = [NewRequestData("r", [1], 1, 0, ([],), item, seed=row) for row, item in enumerate(params)]
    metadata = SamplingMetadata.build([SamplingState(item) for item in new], width, torch.device("cpu"))
    metadata.output_positions[:] = position
    return metadata


@pytest.mark.parametrize("width", [1, 100, 128, 300, 20_000])
@pytest.mark.parametrize("spread", [3.0, 0.5], ids=["few ties", "many ties"])
def test_tokens_are_the_torch_twins(library: NativeLibrary, width: int, spread: float):
    logits = make_logits(len(PARAMS), width, spread)
    logits = logits if spread == 3.0 else (logits * 4).round()
    library.set_num_threads(2)
    native, before = NativeSampling(library), logits.clone()
    num_others = 0
    for position in range(5):
        metadata = make_metadata(PARAMS, width, position)
        token_ids, largest = native.sample(logits, metadata)
        expected, expected_largest = TorchSampling().sample(logits.clone(), metadata)
        num_others += int((token_ids != expected).sum())
        assert largest.tolist() == expected_largest.tolist()
    # The sums are rounded otherwise; a number that falls right between two tokens may take the other one.
    assert num_others <= 1
    assert torch.equal(logits, before)


@pytest.mark.parametrize("width", [300, 151_936])
def test_a_token_does_not_depend_on_the_batch_nor_on_threads(library: NativeLibrary, width: int):
    logits = make_logits(len(PARAMS), width)
    library.set_num_threads(1)
    alone = []
    for row, params in enumerate(PARAMS):
        one = make_metadata([params], width, 5)
        one = dataclasses.replace(one, states=(make_metadata(PARAMS, width).states[row],))
        alone.append(int(NativeSampling(library).sample(logits[[row]], one)[0][0]))
    for num_threads in (1, 2, 5):
        library.set_num_threads(num_threads)
        assert NativeSampling(library).sample(logits, make_metadata(PARAMS, width, 5))[0].tolist() == alone


@pytest.mark.parametrize("params", PARAMS[1:])
def test_draws_have_the_distribution_of_the_definition(library: NativeLibrary, params: SamplingParams):
    width, draws = 300, 4000
    logits = make_logits(1, width, spread=1.5)
    expected = distribution(logits[0].numpy(), params)
    metadata = make_metadata([params] * draws, width)
    tokens, _ = NativeSampling(library).sample(logits.expand(draws, -1), metadata)
    if (expected > 0).sum() > 1:
        assert chi_square(tokens, expected) < 1
    else:
        assert set(tokens.tolist()) == {int(expected.argmax())}


FLAT = {
    "all alike": torch.zeros(2999),
    "few values": (make_logits(1, 5000, spread=0.3)[0] * 4).round(),
    "narrow": make_logits(1, 5000, spread=0.3)[0],
    "wide": make_logits(1, 5000, spread=2.0)[0],
    "mostly forbidden": torch.cat((torch.full((2000,), -torch.inf), make_logits(1, 500, spread=0.1)[0])),
}


@pytest.mark.parametrize("logits", FLAT.values(), ids=FLAT)
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(top_p=0.5),
        SamplingParams(top_p=0.999, temperature=0.6),
        SamplingParams(top_p=0.9, min_p=0.3),
        SamplingParams(top_p=1 - 1e-12, temperature=1.9),
        SamplingParams(top_p=0.9, temperature=0.35),
        SamplingParams(top_p=0.97, temperature=0.35),
        SamplingParams(top_p=0.97, temperature=0.8),
    ],
    ids=["half", "cold", "min_p", "nearly all", "a short head", "a longer head", "a long head"],
)
def test_top_p_of_many_tokens_draws_what_sorting_them_all_does(
    library: NativeLibrary, logits: torch.Tensor, params: SamplingParams
):
    expected = distribution(logits.numpy(), params)
    order = np.lexsort((np.arange(len(logits)), -logits.numpy()))
    ends = np.concatenate(([0.0], expected[order].cumsum()))
    native = NativeSampling(library)
    for position in range(200):
        metadata = make_metadata([params], len(logits), position)
        (uniform,) = metadata.uniforms()
        token_ids, _ = native.sample(logits[None], metadata)
        place = order.tolist().index(token_ids[0])
        # Rounded sums move a token's ends a little.
        assert ends[place] - 1e-6 <= uniform <= ends[place + 1] + 1e-6
        assert expected[token_ids[0]] > 0


def test_impossible_tokens_are_never_drawn(library: NativeLibrary):
    logits = torch.full((1, 1000), -torch.inf)
    logits[0, [137, 999]] = torch.tensor([0.0, -60.0])
    params = [SamplingParams(), SamplingParams(top_p=0.999_999), SamplingParams(top_k=500)]
    for item in params:
        tokens, _ = NativeSampling(library).sample(logits.expand(500, -1), make_metadata([item] * 500, 1000))
        assert set(tokens.tolist()) == {137}


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
@pytest.mark.parametrize("place", [0, 130, 299])
def test_what_is_no_number_is_reported(library: NativeLibrary, poison: float, place: int):
    logits = make_logits(3, 300)
    logits[1, place] = poison
    params = [SamplingParams(), SamplingParams(top_p=0.5), SamplingParams(temperature=0)]
    token_ids, largest = NativeSampling(library).sample(logits, make_metadata(params, 300))
    assert np.isfinite(largest).tolist() == [True, False, True]
    assert np.array_equal(largest[1], np.float32(poison), equal_nan=True)
    request = LogprobRequest(token_ids, np.array([1, 1, 1]), {})
    described, _ = NativeSampling(library).describe(logits, request)
    assert [item is None for item in described] == [False, True, False]


def test_a_row_in_which_nothing_is_allowed_is_reported(library: NativeLibrary):
    logits = torch.full((1, 300), -torch.inf)
    assert NativeSampling(library).sample(logits, make_metadata([SamplingParams()], 300))[1].tolist() == [-np.inf]


@pytest.mark.parametrize("width", WIDTHS)
def test_logprobs_are_the_torch_twins(library: NativeLibrary, width: int):
    logits = make_logits(6, width)
    logits[2] = logits[2].round()
    logits[5, : width // 2] = -torch.inf
    logits = logits[[5, 0, 2, 3]]
    token_ids = np.array([width - 1, int(logits[1].argmax()), 0, width // 2])
    num_top = np.array([20, 0, 3, 0])
    named = {3: [width - 1, 0, width // 3], 1: [0]}
    request = LogprobRequest(token_ids, num_top, named)
    library.set_num_threads(2)
    found, largest = NativeSampling(library).describe(logits, request)
    expected, expected_largest = TorchSampling().describe(logits.clone(), request)
    assert largest.tolist() == expected_largest.tolist()
    for item, wanted in zip(found, expected, strict=True):
        assert item is not None
        assert wanted is not None
        assert (item.token_id, item.rank, item.top_ranks) == (wanted.token_id, wanted.rank, wanted.top_ranks)
        assert item.logprob == pytest.approx(wanted.logprob, abs=1e-5)
        # The twin leaves open which of those that equal the last one it lists, and may list what is padding.
        listed = min(len(item.top_logprobs), width)
        assert item.top_logprobs[:listed] == pytest.approx(wanted.top_logprobs[:listed], abs=1e-5)
        certain = [place for place in range(listed) if item.top_logprobs[place] > item.top_logprobs[-1]]
        assert [item.top_token_ids[i] for i in certain] == [wanted.top_token_ids[i] for i in certain]


def test_logprobs_do_not_depend_on_the_batch_nor_on_threads(library: NativeLibrary):
    logits = make_logits(6, 20_000)
    token_ids, num_top = np.arange(6) * 3000, np.array([5, 0, 2, 3, 20, 1])
    library.set_num_threads(1)
    alone = []
    for row in range(6):
        request = LogprobRequest(token_ids[[row]], num_top[[row]], {})
        alone += NativeSampling(library).describe(logits[[row]], request)[0]
    library.set_num_threads(2)
    together = NativeSampling(library).describe(logits, LogprobRequest(token_ids, num_top, {}))[0]
    assert together == alone


@pytest.mark.parametrize("width", [100, 300, 20_000])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_sampling_and_describing_at_once_is_what_both_are_alone(library: NativeLibrary, width: int, temperature: float):
    asked = SamplingParams(temperature=temperature, top_p=0.9, logprobs=5)
    named = SamplingParams(temperature=temperature, logprob_token_ids=[width - 1, 3])
    unlike = SamplingParams(temperature=temperature, min_p=0.05, logprobs=0)
    logits = make_logits(6, width)
    logits[5, 2] = torch.nan
    metadata = make_metadata([SamplingParams(), asked, named, SamplingParams(top_k=3), unlike, asked], width)
    library.set_num_threads(2)
    native, before = NativeSampling(library), logits.clone()
    token_ids, largest, described = native.sample_and_describe(logits, metadata)
    alone_ids, alone_largest = NativeSampling(library).sample(logits, metadata)
    assert token_ids.tolist() == alone_ids.tolist()
    assert np.array_equal(largest, alone_largest, equal_nan=True)
    rows = torch.from_numpy(metadata.logprob_rows)
    assert described == native.describe(logits[rows], metadata.logprob_request(token_ids))[0]
    assert [item is None for item in described] == [False, False, False, True]
    assert torch.equal(logits[:5], before[:5])
