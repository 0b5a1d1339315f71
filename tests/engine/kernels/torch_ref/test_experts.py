"""Mixtures of experts in torch, against the formula written out."""

import pytest
import torch
from torch.nn import functional as F

from vllm_local.kernels.interface import ExpertWeights
from vllm_local.kernels.torch_ref import TorchKernels


def random_experts(num_experts: int, hidden: int, inner: int) -> list[ExpertWeights]:
    return [
        ExpertWeights(torch.randn(inner, hidden) / 3, torch.randn(inner, hidden) / 3, torch.randn(hidden, inner) / 3)
        for _ in range(num_experts)
    ]


@pytest.mark.parametrize("normalises", [True, False])
@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_each_row_gets_the_weighed_sum_of_its_experts(top_k: int, normalises: bool) -> None:
    torch.manual_seed(0)
    kernels = TorchKernels("cpu", torch.float32)
    router, experts, rows = torch.randn(4, 10), random_experts(4, 10, 6), torch.randn(9, 10)
    residual = torch.randn(9, 10)
    wanted = residual.clone()
    for index, row in enumerate(rows):
        probabilities = (router @ row).softmax(dim=0)
        weights, chosen = probabilities.topk(top_k)
        if normalises:
            weights = weights / weights.sum()
        for weight, expert in zip(weights, chosen.tolist(), strict=True):
            gate, up, down = experts[expert]
            wanted[index] += weight * (down @ (F.silu(gate @ row) * (up @ row)))
    packed = kernels.pack_router(router, top_k=top_k, normalises=normalises)
    packed_experts = kernels.pack_experts(iter(experts), activation="silu")
    kernels.experts_add(rows, kernels.route(rows, packed), packed_experts, residual)
    torch.testing.assert_close(residual, wanted, rtol=1e-5, atol=1e-5)


def test_ranks_together_make_the_whole() -> None:
    torch.manual_seed(0)
    kernels = TorchKernels("cpu", torch.float32)
    experts, rows = random_experts(3, 8, 6), torch.randn(5, 8)
    routes = kernels.route(rows, kernels.pack_router(torch.randn(3, 8), top_k=2, normalises=True))
    whole, shared = torch.zeros(5, 8), torch.zeros(5, 8)
    kernels.experts_add(rows, routes, kernels.pack_experts(experts, activation="silu"), whole)
    for rank in range(2):
        share = kernels.pack_experts(experts, activation="silu", rank=rank, world_size=2)
        kernels.experts_add(rows, routes, share, shared)
    torch.testing.assert_close(shared, whole, rtol=1e-5, atol=1e-5)
