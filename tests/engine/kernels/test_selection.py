"""Native kernels where they are, torch's operators where they are not, and one word about it."""

import logging
from collections.abc import Iterator

import pytest
import torch

from vllm_local.errors import InvalidConfigError
from vllm_local.kernels import selection
from vllm_local.kernels.cpu import NativeKernels, library
from vllm_local.kernels.selection import KERNELS_VARIABLE, make_kernels, native_library
from vllm_local.kernels.torch_ref import TorchKernels


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(KERNELS_VARIABLE, raising=False)
    selection._say_once.cache_clear()
    library.load_library.cache_clear()
    yield
    library.load_library.cache_clear()


@pytest.fixture
def _not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(library.LIBRARY_VARIABLE, raising=False)
    monkeypatch.setattr(library, "LIBRARY_NAMES", ("absent.so",))


def test_the_cpu_has_native_kernels() -> None:
    if native_library() is None:
        pytest.skip("the native library was not built")
    for dtype in (torch.float32, torch.bfloat16):
        kernels = make_kernels("cpu", dtype)
        assert isinstance(kernels, NativeKernels)
        assert (kernels.dtype, kernels.device) == (dtype, torch.device("cpu"))
        assert kernels.description == f"native kernels, {kernels.library.isa}"
    assert isinstance(make_kernels("cpu", torch.float16), TorchKernels)
    assert isinstance(make_kernels("meta", torch.float32), TorchKernels)


def test_torch_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNELS_VARIABLE, "torch")
    assert isinstance(make_kernels("cpu", torch.float32), TorchKernels)
    monkeypatch.setenv(KERNELS_VARIABLE, "fast")
    with pytest.raises(InvalidConfigError, match="'fast'"):
        make_kernels("cpu", torch.float32)


@pytest.mark.usefixtures("_not_built")
def test_without_a_library_torch_computes_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="vllm_local"):
        assert [type(make_kernels("cpu", torch.float32)) for _ in range(2)] == [TorchKernels, TorchKernels]
    (message,) = caplog.messages
    assert "C++ compiler" in message


@pytest.mark.usefixtures("_not_built")
def test_native_kernels_that_are_demanded_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNELS_VARIABLE, "native")
    with pytest.raises(InvalidConfigError, match="not installed"):
        make_kernels("cpu", torch.float32)
