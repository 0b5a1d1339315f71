"""Packed linears: every layout multiplies, whatever the rank."""

import pytest
import torch

from vllm_local.errors import InvalidConfigError
from vllm_local.kernels.torch_ref import TorchKernels
from vllm_local.kernels.torch_ref.linear import OneDnnLinear, PlainLinear, make_linear, rounded_rows

ONEDNN = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
DTYPES = [torch.float32, torch.bfloat16]


def multiply(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    result = rows.double() @ weight.double().T
    return result if bias is None else result + bias.double()


def assert_near(actual: torch.Tensor, wanted: torch.Tensor) -> None:
    tolerance = 2e-5 if actual.dtype == torch.float32 else 2e-2
    torch.testing.assert_close(actual.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("num_rows", [1, 3, 17])
def test_parts_lie_side_by_side(dtype: torch.dtype, has_bias: bool, num_rows: int):
    torch.manual_seed(0)
    weights = [(torch.randn(size, 24) / 5).to(dtype) for size in (40, 8, 7)]
    biases = [torch.randn(len(weight)).to(dtype) for weight in weights] if has_bias else None
    kernels = TorchKernels("cpu", dtype)
    packed = kernels.pack_linear(weights, biases)
    rows = torch.randn(num_rows, 24).to(dtype)
    assert (packed.in_features, packed.out_features) == (24, 55)
    result = kernels.linear(rows, packed)
    assert result.dtype == dtype
    assert_near(result, multiply(rows, torch.cat(weights), None if biases is None else torch.cat(biases)))


@pytest.mark.parametrize("machine", ["x86_64", "AMD64", "aarch64"])
def test_which_layout(machine: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("platform.machine", lambda: machine)

    def layout(dtype: torch.dtype, device: str = "cpu") -> type:
        return type(make_linear(torch.ones(4, 4, dtype=dtype, device=device), None))

    assert layout(torch.bfloat16) is (OneDnnLinear if ONEDNN else PlainLinear)
    if torch.backends.mkldnn.is_available():
        assert layout(torch.float32) is (PlainLinear if machine == "aarch64" else OneDnnLinear)
    assert layout(torch.float16) is PlainLinear
    assert layout(torch.float32, "meta") is PlainLinear


@pytest.mark.parametrize("num_rows", [0, 1, 7, 9, 33, 70])
@pytest.mark.parametrize("dtype", DTYPES)
def test_both_layouts_compute_the_same(dtype: torch.dtype, num_rows: int, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    weight, bias, rows = (torch.randn(shape).to(dtype) for shape in ((33, 20), (33,), (num_rows, 20)))
    results = []
    for available in (True, False):
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda available=available: available)
        results.append(make_linear(weight, bias)(rows))
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(*results, rtol=tolerance, atol=tolerance)


def test_onednn_sees_few_numbers_of_rows():
    numbers = range(1, 2049)
    rounded = [rounded_rows(number) for number in numbers]
    assert len(set(rounded)) <= 60
    assert rounded == sorted(rounded)
    assert all(number <= more <= 1.25 * number for number, more in zip(numbers, rounded, strict=True))
    assert [rounded_rows(more) for more in rounded] == rounded


def test_weights_are_copied_and_converted():
    weight = torch.ones(4, 3, dtype=torch.float16)
    kernels = TorchKernels("cpu", torch.float32)
    packed = kernels.pack_linear([weight])
    weight.fill_(7)
    assert kernels.linear(torch.ones(1, 3), packed).tolist() == [[3.0] * 4]


@pytest.mark.parametrize("dtype", DTYPES)
def test_ranks_together_make_the_whole(dtype: torch.dtype):
    torch.manual_seed(0)
    kernels = TorchKernels("cpu", dtype)
    weights = [(torch.randn(size, 16) / 4).to(dtype) for size in (8, 4)]
    biases = [torch.randn(size).to(dtype) for size in (8, 4)]
    rows = torch.randn(5, 16).to(dtype)
    by_output = [kernels.linear(rows, kernels.pack_linear(weights, biases, rank=r, world_size=2)) for r in range(2)]
    parts = [torch.cat([share.split([4, 2], dim=1)[part] for share in by_output], dim=1) for part in range(2)]
    wanted = multiply(rows, torch.cat(weights), torch.cat(biases))
    assert_near(torch.cat(parts, dim=1), wanted)
    by_input = [
        kernels.linear(share, kernels.pack_linear(weights, biases, split="input", rank=r, world_size=2))
        for r, share in enumerate(t.contiguous() for t in rows.chunk(2, dim=1))
    ]
    assert_near(by_input[0] + by_input[1], wanted)


def test_a_size_that_ranks_cannot_share():
    with pytest.raises(InvalidConfigError, match=r"\(5, 3\).*2 ranks"):
        TorchKernels("cpu", torch.float32).pack_linear([torch.ones(5, 3)], world_size=2)
