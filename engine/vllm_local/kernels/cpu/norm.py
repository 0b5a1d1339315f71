"""Root-mean-square norm and layer norm by the native library."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch

from vllm_local.kernels.cpu.library import dtype_code


class NormArguments(ctypes.Structure):
    """`NormArguments` of native/api.h."""

    _fields_ = (
        ("rows", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("num_rows", ctypes.c_int64),
        ("size", ctypes.c_int64),
        ("eps", ctypes.c_float),
        ("layer", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
    )


@dataclass(frozen=True, slots=True)
class NativeNorm:
    """A norm over the last dimension.

    Attributes:
        weight: [H] float32.
        bias: [H] float32, or None; layer norm only.
        eps: Added to the mean square or the variance.
        layer: A layer norm; else a root-mean-square norm.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    eps: float
    layer: bool

    def arguments(self, rows: torch.Tensor, output: torch.Tensor) -> NormArguments:
        """Returns the arguments of a call that normalises float32 rows [T, H] into an output [T, H] of any dtype."""
        return NormArguments(
            rows=rows.data_ptr(),
            weight=self.weight.data_ptr(),
            bias=None if self.bias is None else self.bias.data_ptr(),
            output=output.data_ptr(),
            num_rows=rows.shape[0],
            size=rows.shape[1],
            eps=self.eps,
            layer=self.layer,
            dtype=dtype_code(output.dtype),
        )
