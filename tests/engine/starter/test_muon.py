import pytest
import torch

from vllm_local.starter.muon import Muon, orthogonal


def steps_of(optimizer, parameter, gradients):
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("shape", [(48, 16), (16, 48), (24, 24)])
def test_it_steps_as_torchs_own_does(shape):
    generator = torch.Generator().manual_seed(1)
    start, *gradients = (torch.randn(shape, generator=generator) for _ in range(4))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    expected = steps_of(torch.optim.Muon([theirs], lr=0.02, weight_decay=0.01), theirs, gradients)
    moved = steps_of(Muon([ours], lr=0.02, dtype=torch.bfloat16), ours, gradients)
    assert torch.allclose(moved, expected, atol=1e-6)
    assert (moved - start).abs().max() > 0.01


@pytest.mark.parametrize("shape", [(48, 16), (16, 48)])
def test_a_step_has_singular_values_of_about_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.5
    assert values.max() < 1.5
