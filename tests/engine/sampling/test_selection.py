import pytest

from vllm_local.kernels.cpu.library import load_library
from vllm_local.kernels.selection import KERNELS_VARIABLE
from vllm_local.sampling.native_backend import NativeSampling
from vllm_local.sampling.selection import make_backend
from vllm_local.sampling.torch_backend import TorchSampling


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_logits_elsewhere_are_torchs_business(device):
    assert isinstance(make_backend(device), TorchSampling)


def test_the_library_samples_where_it_computes(monkeypatch):
    if load_library() is None:
        pytest.skip("the native library was not built")
    assert isinstance(make_backend("cpu"), NativeSampling)
    monkeypatch.setenv(KERNELS_VARIABLE, "torch")
    assert isinstance(make_backend("cpu"), TorchSampling)
