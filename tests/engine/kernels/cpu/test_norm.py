import pytest
import torch

from vllm_local.kernels.cpu.backend import NativeKernels
from vllm_local.kernels.cpu.library import NativeLibrary
from vllm_local.kernels.interface import NormKind
from vllm_local.kernels.torch_ref import TorchKernels

DTYPES = (torch.float32, torch.bfloat16)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 8e-3}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 7, 64, 100, 896])
@pytest.mark.parametrize(("kind", "has_bias"), [("rms", False), ("layer", False), ("layer", True)])
def test_norm_is_the_torch_twins(
    library: NativeLibrary, kind: NormKind, has_bias: bool, size: int, dtype: torch.dtype
) -> None:
    rows, weight = 3 * torch.randn(5, size) + 1, torch.randn(size)
    bias = torch.randn(size) if has_bias else None
    native, twin = NativeKernels(dtype, library), TorchKernels("cpu", dtype)
    result = native.norm(rows, native.pack_norm(weight, bias, kind=kind, eps=1e-6))
    expected = twin.norm(rows, twin.pack_norm(weight, bias, kind=kind, eps=1e-6))
    assert result.dtype == dtype
    torch.testing.assert_close(result, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_of_a_row_does_not_depend_on_the_others_nor_on_threads(library: NativeLibrary, dtype: torch.dtype) -> None:
    rows, native = torch.randn(9, 100), NativeKernels(dtype, library)
    norm = native.pack_norm(torch.randn(100), kind="rms", eps=1e-6)
    library.set_num_threads(1)
    alone = torch.cat([native.norm(row[None], norm) for row in rows])
    library.set_num_threads(2)
    assert torch.equal(native.norm(rows, norm), alone)
