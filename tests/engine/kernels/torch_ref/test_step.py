"""How requests are grouped, and what their queries may see."""

import pytest
import torch

from tests.engine.models.paged import PagedRequest, make_metadata
from vllm_local.kernels.torch_ref import step as step_module
from vllm_local.kernels.torch_ref.step import TorchStep


def make_step(*shapes: tuple[int, int]) -> TorchStep:
    """A step of requests given as (tokens computed before, tokens in this step)."""
    blocks = iter(range(1000))
    requests = [
        PagedRequest([0] * (before + n), before, [next(blocks) for _ in range(-(-(before + n) // 4))])
        for before, n in shapes
    ]
    return TorchStep(make_metadata(requests, [n for _, n in shapes]), block_size=4)


def tokens_of(step: TorchStep) -> list[list[int]]:
    every = torch.arange(10_000)
    return [every[group.tokens].tolist() for group in step.groups]


def test_decode_requests_alone_stay_in_order():
    step = make_step((9, 1), (3, 1), (30, 1))
    assert tokens_of(step) == [[0, 1, 2]]
    assert isinstance(step.groups[0].tokens, slice)
    assert step.groups[0].num_keys == 31


def test_every_token_is_in_one_group():
    step = make_step((9, 1), (0, 300), (3, 1), (5, 2), (0, 1))
    groups = tokens_of(step)
    assert sorted(token for group in groups for token in group) == list(range(305))
    assert sorted(map(len, groups)) == [2, 3, 44, 128, 128]


def test_long_requests_do_not_pad_short_ones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(step_module, "SPLIT_TOKENS", 100)
    step = make_step((9, 1), (499, 1), (12, 1), (480, 1))
    assert tokens_of(step) == [[1, 3], [2, 0]]
    assert [group.num_keys for group in step.groups] == [500, 13]


def test_a_query_sees_its_past_only():
    step = make_step((5, 3))
    bias = step.groups[0].bias(None, None, torch.float32)
    assert bias is not None
    seen = (bias == 0).squeeze().tolist()
    assert seen == [[key <= query for key in range(8)] for query in (5, 6, 7)]
    assert bias.isneginf().sum() == (bias != 0).sum()


def test_a_window_ends_behind_a_query():
    bias = make_step((5, 3)).groups[0].bias(None, 2, torch.float32)
    assert bias is not None
    assert (bias == 0).squeeze().tolist() == [[query - 2 < key <= query for key in range(8)] for query in (5, 6, 7)]


def test_requests_of_one_length_need_no_bias():
    group = make_step((9, 1), (9, 1)).groups[0]
    assert group.bias(None, None, torch.float32) is None
    assert group.bias(None, 10, torch.float32) is None
    assert group.bias(None, 9, torch.float32) is not None
    assert make_step((9, 1), (8, 1)).groups[0].bias(None, None, torch.float32) is not None


def test_a_linear_bias_grows_with_distance():
    slopes = torch.tensor([0.5, 0.25]).view(1, 2, 1, 1)
    bias = make_step((3, 1), (1, 1)).groups[0].bias(slopes, None, torch.float32)
    assert bias is not None
    assert bias[0, :, 0].tolist() == [[-1.5, -1.0, -0.5, 0.0], [-0.75, -0.5, -0.25, 0.0]]
    assert bias[1, 0, 0].tolist() == [-0.5, 0.0, -torch.inf, -torch.inf]


def test_biases_are_kept_for_the_step_unless_they_are_large(monkeypatch: pytest.MonkeyPatch):
    group = make_step((5, 3)).groups[0]
    assert group.bias(None, None, torch.float32) is group.bias(None, None, torch.float32)
    assert group.bias(None, 2, torch.float32) is not group.bias(None, None, torch.float32)
    monkeypatch.setattr(step_module, "MAX_KEPT_BIAS", 10)
    assert group.bias(None, 3, torch.float32) is not group.bias(None, 3, torch.float32)


def test_rotations_are_computed_once_for_equal_layers():
    step = make_step((5, 3))
    frequencies = torch.tensor([1.0, 0.1])
    cosine, sine = step.rotation(frequencies, 2.0)
    angles = torch.tensor([[5.0, 0.5], [6.0, 0.6], [7.0, 0.7]])[:, None]
    torch.testing.assert_close(cosine, 2 * angles.cos())
    torch.testing.assert_close(sine, 2 * angles.sin())
    assert step.rotation(frequencies, 2.0)[0] is cosine
    assert step.rotation(frequencies, 1.0)[0] is not cosine
