"""Mixtures of experts: the torch twin's results on every instruction set, and the same bits whatever the batch."""

import pytest
import torch

from vllm_local.kernels.cpu.backend import NativeKernels
from vllm_local.kernels.cpu.library import NativeLibrary
from vllm_local.kernels.interface import ExpertWeights, Kernels
from vllm_local.kernels.torch_ref import TorchKernels

DTYPES = (torch.float32, torch.bfloat16)
SHAPES = ((4, 2, 48, 24), (9, 1, 33, 7), (5, 5, 100, 300))  # experts, chosen, hidden size, intermediate size


class Mixture:
    """Random weights, packed by either backend."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, *, normalises: bool = True) -> None:
        num_experts, self.top_k, hidden, inner = shape
        self.normalises = normalises
        self.router = torch.randn(num_experts, hidden).to(dtype)
        sizes = ((inner, hidden), (inner, hidden), (hidden, inner))
        self.experts = [
            ExpertWeights(*((torch.randn(size) / size[1] ** 0.5).to(dtype) for size in sizes))
            for _ in range(num_experts)
        ]

    def packed(self, kernels: Kernels) -> "PackedMixture":
        return PackedMixture(self, kernels)


class PackedMixture:
    def __init__(self, mixture: Mixture, kernels: Kernels) -> None:
        self.kernels = kernels
        self.router = kernels.pack_router(mixture.router, top_k=mixture.top_k, normalises=mixture.normalises)
        self.experts = kernels.pack_experts(iter(mixture.experts), activation="silu")

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """What is added to a residual stream of 0.3."""
        residual = torch.full(rows.shape, 0.3)
        self.kernels.experts_add(rows, self.kernels.route(rows, self.router), self.experts, residual)
        return residual


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("normalises", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_mixture_is_the_torch_twins(
    library: NativeLibrary, shape: tuple[int, int, int, int], normalises: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    library.set_num_threads(2)
    native, twin = NativeKernels(dtype, library), TorchKernels("cpu", dtype)
    mixture = Mixture(shape, dtype, normalises=normalises)
    packed, reference = mixture.packed(native), mixture.packed(twin)
    for num_rows in (1, 2, 7, 40, 150):
        rows = torch.randn(num_rows, shape[2]).to(dtype)
        routes, wanted = native.route(rows, packed.router), twin.route(rows, reference.router)
        assert routes.experts.tolist() == wanted.experts.tolist()
        torch.testing.assert_close(routes.weights, wanted.weights, rtol=1e-5, atol=1e-6)
        # In bfloat16 the twin rounds gate and up before their product.
        tolerance = 2e-5 if dtype == torch.float32 else 3e-2
        torch.testing.assert_close(packed(rows), reference(rows), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("num_rows", [1, 5, 64])
def test_choices_are_sorted_by_expert(library: NativeLibrary, num_rows: int) -> None:
    torch.manual_seed(0)
    kernels = NativeKernels(torch.float32, library)
    router = kernels.pack_router(torch.randn(6, 16), top_k=3, normalises=False)
    routes = kernels.route(torch.randn(num_rows, 16), router)
    starts = routes.group_starts[0].tolist()
    assert (starts[0], starts[-1]) == (0, 3 * num_rows)
    places = [
        (starts[expert] + i, expert, row)
        for expert in range(6)
        for i, row in enumerate(routes.rows.flatten()[starts[expert] : starts[expert + 1]].tolist())
    ]
    for place, expert, row in places:
        choice = routes.experts[row].tolist().index(expert)
        assert routes.places[row, choice] == place
    assert routes.weights.sum(dim=1).le(1 + 1e-6).all()


def test_equal_logits_choose_the_first_experts(library: NativeLibrary) -> None:
    kernels = NativeKernels(torch.float32, library)
    router = kernels.pack_router(torch.ones(5, 3), top_k=2, normalises=True)
    routes = kernels.route(torch.ones(2, 3), router)
    assert routes.experts.tolist() == [[0, 1], [0, 1]]
    assert routes.weights.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_a_row_that_is_no_number_stays_its_own_trouble(library: NativeLibrary) -> None:
    torch.manual_seed(0)
    mixture = Mixture(SHAPES[0], torch.float32).packed(NativeKernels(torch.float32, library))
    rows = torch.randn(9, 48)
    wanted = mixture(rows)
    rows[4] = torch.nan
    result = mixture(rows)
    assert result[4].isnan().all()
    kept = [row for row in range(9) if row != 4]
    assert torch.equal(result[kept], wanted[kept])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4, 2, 64, 75), (30, 8, 64, 75)])
def test_a_row_has_the_same_bits_in_every_batch_at_any_number_of_threads(
    library: NativeLibrary, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    mixture = Mixture(shape, dtype).packed(NativeKernels(dtype, library))
    rows = torch.randn(150, shape[2]).to(dtype)
    library.set_num_threads(1)
    alone = torch.cat([mixture(row[None]) for row in rows])
    for num_threads in (1, 2, 3):
        library.set_num_threads(num_threads)
        for num_rows in (2, 3, 13, 29, 70, 150):
            assert torch.equal(mixture(rows[:num_rows]), alone[:num_rows]), (num_threads, num_rows)
        order = torch.randperm(150)
        assert torch.equal(mixture(rows[order]), alone[order]), num_threads
