"""`NativeKernels`: the kernels' interface by the native library."""

from __future__ import annotations

import torch

from vllm_local.kernels.cpu.library import NativeLibrary
from vllm_local.kernels.cpu.norm import NativeNorm
from vllm_local.kernels.interface import NormKind
from vllm_local.kernels.torch_ref.backend import TorchKernels


class NativeKernels(TorchKernels):
    """See `vllm_local.kernels.interface.Kernels` for what the methods do.

    Attributes:
        library: The native library.
    """

    def __init__(self, dtype: torch.dtype, library: NativeLibrary) -> None:
        super().__init__("cpu", dtype)
        self.library = library
        self._norm = library.function("norm")

    def pack_norm(  # type: ignore[override]
        self, weight: torch.Tensor, bias: torch.Tensor | None = None, *, kind: NormKind, eps: float
    ) -> NativeNorm:
        """Keeps the weights in float32."""
        bias = None if bias is None else self._float32(bias)
        return NativeNorm(self._float32(weight), bias, eps, layer=kind == "layer")

    def norm(self, residual: torch.Tensor, norm: NativeNorm) -> torch.Tensor:  # type: ignore[override]
        """Normalises in float32, rounds once."""
        return norm(residual, self.dtype, self._norm)
