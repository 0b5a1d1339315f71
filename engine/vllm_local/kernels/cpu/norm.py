"""Root-mean-square norm and layer norm by the native library."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch

from vllm_local.kernels.cpu.library import Function, dtype_code


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

    def __call__(self, rows: torch.Tensor, dtype: torch.dtype, function: Function) -> torch.Tensor:
        """Returns float32 rows [T, H] normalised, in another dtype; `function` is the library's."""
        result = torch.empty(rows.shape, dtype=dtype)
        arguments = NormArguments(
            rows=rows.data_ptr(),
            weight=self.weight.data_ptr(),
            bias=None if self.bias is None else self.bias.data_ptr(),
            output=result.data_ptr(),
            num_rows=rows.shape[0],
            size=rows.shape[1],
            eps=self.eps,
            layer=self.layer,
            dtype=dtype_code(dtype),
        )
        function(ctypes.byref(arguments))
        return result
