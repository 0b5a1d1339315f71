"""Norms against their formulas."""

import pytest
import torch

from vllm_local.kernels.torch_ref import TorchKernels


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_root_mean_square_norm(dtype: torch.dtype):
    torch.manual_seed(0)
    rows, weight = torch.randn(5, 12) * 30, torch.randn(12)
    kernels = TorchKernels("cpu", dtype)
    result = kernels.norm(rows, kernels.pack_norm(weight, kind="rms", eps=0.1))
    wanted = rows / (rows.square().sum(1, keepdim=True) / 12 + 0.1).sqrt() * weight
    assert result.dtype == dtype
    torch.testing.assert_close(result.float(), wanted, rtol=1e-5 if dtype == torch.float32 else 4e-3, atol=1e-6)


@pytest.mark.parametrize("has_bias", [True, False])
def test_layer_norm(has_bias: bool):
    torch.manual_seed(0)
    rows, weight, bias = torch.randn(5, 12) * 3 + 2, torch.randn(12), torch.randn(12)
    kernels = TorchKernels("cpu", torch.float32)
    result = kernels.norm(rows, kernels.pack_norm(weight, bias if has_bias else None, kind="layer", eps=0.1))
    centred = rows - rows.sum(1, keepdim=True) / 12
    wanted = centred / (centred.square().sum(1, keepdim=True) / 12 + 0.1).sqrt() * weight
    torch.testing.assert_close(result, wanted + bias if has_bias else wanted)
