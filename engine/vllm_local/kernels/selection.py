"""Which kernels compute: the native ones where they are, else torch's operators."""

from __future__ import annotations

import functools
import logging
import os
from typing import TYPE_CHECKING

import torch

from vllm_local.errors import InvalidConfigError

if TYPE_CHECKING:
    from vllm_local.kernels.cpu.library import NativeLibrary
    from vllm_local.kernels.interface import Kernels

logger = logging.getLogger(__name__)

KERNELS_VARIABLE = "VLLM_LOCAL_KERNELS"
"""Environment variable: "native" or "torch", instead of native kernels where there are some."""


def make_kernels(device: str, dtype: torch.dtype) -> Kernels:
    """Returns kernels for a device.

    Args:
        device: "cpu", "cuda" or "mps".
        dtype: The model's dtype.

    Raises:
        InvalidConfigError: The environment asks for kernels that are not there.
    """
    library = native_library() if device == "cpu" and dtype in {torch.float32, torch.bfloat16} else None
    if library is None:
        from vllm_local.kernels.torch_ref import TorchKernels

        return TorchKernels(device, dtype)
    from vllm_local.kernels.cpu import NativeKernels

    return NativeKernels(dtype, library)


def native_library() -> NativeLibrary | None:
    """Returns the library of native kernels, or None where torch's operators compute on the CPU; the log says why.

    Raises:
        InvalidConfigError: The environment asks for native kernels, and there are none.
    """
    wanted = os.environ.get(KERNELS_VARIABLE, "")
    if wanted not in {"", "native", "torch"}:
        raise InvalidConfigError(f'{KERNELS_VARIABLE} is {wanted!r}; it must be "native" or "torch".')
    if wanted == "torch":
        return None
    from vllm_local.kernels.cpu.library import load_library

    library = load_library()
    if library is None and wanted == "native":
        raise InvalidConfigError(f"{KERNELS_VARIABLE}=native, but the native kernels are not installed. {_REMEDY}")
    if library is None:
        _say_once()
    return library


_REMEDY = (
    "Reinstall the package from source (pip install --no-binary langchain-vllm-local …) where there is a C++ compiler, "
    "gcc or clang; docs/kernels.md has more."
)


@functools.cache
def _say_once() -> None:
    logger.warning("There are no native kernels here, so torch's operators compute, which is slower. %s", _REMEDY)
