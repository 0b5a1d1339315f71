"""Packed linears of the native library."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import torch

from vllm_local.kernels.cpu.library import NativeLibrary, dtype_code
from vllm_local.kernels.interface import Activation

ACTIVATIONS: Mapping[Activation | None, int] = {None: 0, "silu": 1, "gelu": 2, "gelu_tanh": 3, "relu": 4}
"""Numbers that stand for activations in the C interface (ACTIVATION_* in native/api.h)."""

_ALIGNMENT = 64
"""Bytes: a cache line."""


class PackArguments(ctypes.Structure):
    """`PackArguments` of native/api.h."""

    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("packed", ctypes.c_void_p),
        ("packed_bias", ctypes.c_void_p),
        ("out_features", ctypes.c_int64),
        ("in_features", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
        ("gated", ctypes.c_int32),
    )


class LinearArguments(ctypes.Structure):
    """`LinearArguments` of native/api.h."""

    _fields_ = (
        ("input", ctypes.c_void_p),
        ("input_rows", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("num_rows", ctypes.c_int64),
        ("in_features", ctypes.c_int64),
        ("out_features", ctypes.c_int64),
        ("input_stride", ctypes.c_int64),
        ("output_stride", ctypes.c_int64),
        ("scale", ctypes.c_float),
        ("weight_dtype", ctypes.c_int32),
        ("input_dtype", ctypes.c_int32),
        ("output_dtype", ctypes.c_int32),
        ("activation", ctypes.c_int32),
        ("gated", ctypes.c_int32),
        ("adds", ctypes.c_int32),
    )


class NativeLinear:
    """Weights in panels of columns, read by the native library only.

    Attributes:
        in_features: Numbers in an input row.
        out_features: Numbers in an output row; of a gated linear, gate and up together.
        num_results: Numbers in a row of results, half as many where it is gated.
        activation: What `activated_linear` applies, or None.
        packed: The weights, as bytes.
    """

    __slots__ = ("_bias", "_template", "activation", "in_features", "num_results", "out_features", "packed")

    def __init__(
        self,
        library: NativeLibrary,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *,
        activation: Activation | None = None,
        gated: bool = False,
    ) -> None:
        """Packs a weight for the library's instruction set.

        Args:
            library: The native library.
            weight: [out features, in features], float32 or bfloat16, contiguous.
            bias: [out features] or None.
            activation: What follows the product, or None.
            gated: The outputs are gate and up, side by side.
        """
        self.out_features, self.in_features = weight.shape
        self.num_results = self.out_features // 2 if gated else self.out_features
        self.activation = activation
        self.packed, self._bias = _pack(library, weight, bias, gated=gated)
        self._template = LinearArguments(
            weight=self.packed.data_ptr(),
            bias=None if self._bias is None else self._bias.data_ptr(),
            in_features=self.in_features,
            out_features=self.out_features,
            weight_dtype=dtype_code(weight.dtype),
            activation=ACTIVATIONS[activation],
            gated=gated,
        )

    def arguments(
        self, rows: torch.Tensor, output: torch.Tensor, *, adds: bool = False, scale: float = 1.0
    ) -> LinearArguments:
        """Returns the arguments of a call.

        Args:
            rows: [T, in features].
            output: [T, results], where the scaled results go.
            adds: Add them to the output, which is float32.
            scale: What the results are multiplied by.
        """
        arguments = LinearArguments.from_buffer_copy(self._template)
        arguments.input, arguments.output = rows.data_ptr(), output.data_ptr()
        arguments.num_rows = rows.shape[0]
        arguments.input_stride, arguments.output_stride = rows.stride(0), output.stride(0)
        arguments.input_dtype, arguments.output_dtype = dtype_code(rows.dtype), dtype_code(output.dtype)
        arguments.adds, arguments.scale = adds, scale
        return arguments


def _pack(
    library: NativeLibrary, weight: torch.Tensor, bias: torch.Tensor | None, *, gated: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Returns the packed weight as bytes, and the bias [packed columns] float32."""
    bias = None if bias is None else bias.float()
    arguments = PackArguments(
        weight=weight.data_ptr(),
        bias=None if bias is None else bias.data_ptr(),
        out_features=weight.shape[0],
        in_features=weight.shape[1],
        dtype=dtype_code(weight.dtype),
        gated=gated,
    )
    packed = _aligned_bytes(library, library.packed_bytes(arguments))
    packed_bias = None if bias is None else torch.empty(library.packed_columns(weight.shape[0], gated=gated))
    arguments.packed = packed.data_ptr()
    arguments.packed_bias = None if packed_bias is None else packed_bias.data_ptr()
    library.function("pack")(ctypes.byref(arguments))
    return packed, packed_bias


def _aligned_bytes(library: NativeLibrary, size: int) -> torch.Tensor:
    memory = torch.empty(size + _ALIGNMENT, dtype=torch.uint8)
    library.advise_huge_pages(memory)
    start = -memory.data_ptr() % _ALIGNMENT
    return memory[start : start + size]
