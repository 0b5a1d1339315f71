"""Packed linears: the torch twin's results on every instruction set, and the same bits whatever the batch."""

from collections.abc import Callable

import pytest
import torch

from vllm_local.kernels.cpu.backend import NativeKernels
from vllm_local.kernels.cpu.library import NativeLibrary
from vllm_local.kernels.interface import Activation
from vllm_local.kernels.torch_ref import TorchKernels

DTYPES = (torch.float32, torch.bfloat16)
ROWS = (1, 2, 3, 5, 6, 7, 13, 14, 15, 40)
SHAPES = ((1, 1), (40, 24), (33, 7), (100, 300), (17, 1031))  # [out features, in features]
ACTIVATIONS: tuple[Activation, ...] = ("silu", "gelu", "gelu_tanh", "relu")


def assert_near(result: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype) -> None:
    """Of the products' inputs nothing is lost; a bfloat16 result is rounded once, the twin's maybe twice."""
    tolerance = 1e-5 if dtype == torch.float32 else 1.6e-2
    torch.testing.assert_close(result, wanted, rtol=tolerance, atol=tolerance)


def make_weight(out_features: int, in_features: int, dtype: torch.dtype) -> torch.Tensor:
    return (torch.randn(out_features, in_features) / in_features**0.5).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_linear_is_the_torch_twins(
    library: NativeLibrary, shape: tuple[int, int], has_bias: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    library.set_num_threads(2)
    native, twin = NativeKernels(dtype, library), TorchKernels("cpu", dtype)
    weight, bias = make_weight(*shape, dtype), [torch.randn(shape[0]).to(dtype)] if has_bias else None
    packed, reference = native.pack_linear([weight], bias), twin.pack_linear([weight], bias)
    assert (packed.out_features, packed.in_features) == shape
    for num_rows in ROWS:
        rows = torch.randn(num_rows, shape[1]).to(dtype)
        assert_near(native.linear(rows, packed), twin.linear(rows, reference), dtype)
        logits = native.logits(rows, packed, 0.5)
        assert_near(logits, twin.logits(rows, reference, 0.5), dtype)
        out = torch.full_like(logits, torch.nan)
        assert native.logits(rows, packed, 0.5, out) is out
        assert torch.equal(out, logits)
        residual = torch.randn(num_rows, shape[0])
        wanted = residual.clone()
        native.linear_add(rows, packed, residual)
        twin.linear_add(rows, reference, wanted)
        assert_near(residual, wanted, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("num_parts", [1, 2])
@pytest.mark.parametrize("shape", [(5, 9), (48, 64), (19, 300)])
def test_activated_linear_is_the_torch_twins(
    library: NativeLibrary, shape: tuple[int, int], num_parts: int, activation: Activation, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    native, twin = NativeKernels(dtype, library), TorchKernels("cpu", dtype)
    weights = [3 * make_weight(*shape, dtype) for _ in range(num_parts)]
    biases = [torch.randn(shape[0]).to(dtype) for _ in range(num_parts)]
    packed, reference = (
        kernels.pack_activated_linear(weights, biases, activation=activation) for kernels in (native, twin)
    )
    for num_rows in (1, 4, 23):
        rows = torch.randn(num_rows, shape[1]).to(dtype)
        result = native.activated_linear(rows, packed)
        assert result.shape == (num_rows, shape[0])
        wanted = twin.activated_linear(rows, reference)
        rtol, atol = (1e-5, 1e-5) if dtype == torch.float32 else (3e-2, 6e-2)
        torch.testing.assert_close(result, wanted, rtol=rtol, atol=atol)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_over_its_range(library: NativeLibrary, activation: Activation) -> None:
    kernels, twin = NativeKernels(torch.float32, library), TorchKernels("cpu", torch.float32)
    rows = torch.cat([torch.linspace(-100, 100, 4001), torch.tensor([-torch.inf, torch.inf, torch.nan])])[:, None]
    one = torch.ones(1, 1)
    result = kernels.activated_linear(rows, kernels.pack_activated_linear([one], activation=activation))
    wanted = twin.activated_linear(rows, twin.pack_activated_linear([one], activation=activation))
    torch.testing.assert_close(result[:4001], wanted[:4001], rtol=1e-6, atol=1e-6)
    assert result[-1].isnan()


Operation = Callable[[NativeKernels, torch.Tensor], torch.Tensor]


def operations(dtype: torch.dtype, in_features: int) -> dict[str, Callable[[NativeKernels], Operation]]:
    weights = [make_weight(75, in_features, dtype) for _ in range(2)]
    biases = [torch.randn(75).to(dtype) for _ in range(2)]

    def linear(kernels: NativeKernels) -> Operation:
        packed = kernels.pack_linear(weights, biases)
        return lambda kernels, rows: kernels.linear(rows, packed)

    def gated(kernels: NativeKernels) -> Operation:
        packed = kernels.pack_activated_linear(weights, biases, activation="silu")
        return lambda kernels, rows: kernels.activated_linear(rows, packed)

    def added(kernels: NativeKernels) -> Operation:
        packed = kernels.pack_linear(weights, biases)

        def add(kernels: NativeKernels, rows: torch.Tensor) -> torch.Tensor:
            residual = torch.full((len(rows), 150), 0.3)
            kernels.linear_add(rows, packed, residual)
            return residual

        return add

    return {"linear": linear, "gated": gated, "added": added}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", ["linear", "gated", "added"])
@pytest.mark.parametrize("in_features", [64, 1031])
def test_a_row_has_the_same_bits_in_every_batch_at_any_number_of_threads(
    library: NativeLibrary, in_features: int, operation: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    kernels = NativeKernels(dtype, library)
    run = operations(dtype, in_features)[operation](kernels)
    rows = torch.randn(1100 if in_features > 1000 else 61, in_features).to(dtype)
    library.set_num_threads(1)
    alone = torch.cat([run(kernels, row[None]) for row in rows])
    for num_threads in (1, 2, 3):
        library.set_num_threads(num_threads)
        for num_rows in (*range(2, 32), len(rows)):
            assert torch.equal(run(kernels, rows[:num_rows]), alone[:num_rows]), (num_threads, num_rows)
