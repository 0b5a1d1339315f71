"""Who reads whole vocabularies: the native library where it computes the model, else torch's operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_local.kernels.selection import native_library
from vllm_local.sampling.native_backend import NativeSampling
from vllm_local.sampling.torch_backend import TorchSampling

if TYPE_CHECKING:
    from vllm_local.sampling.backend import SamplingBackend


def make_backend(device: str) -> SamplingBackend:
    """Returns what samples from logits on a device.

    Args:
        device: "cpu", "cuda" or "mps".

    Raises:
        InvalidConfigError: The environment asks for native kernels, and there are none.
    """
    library = native_library() if device == "cpu" else None
    return TorchSampling() if library is None else NativeSampling(library)
