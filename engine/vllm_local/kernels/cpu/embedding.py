"""Token embedding by the native library."""

from __future__ import annotations

import ctypes

import torch

from vllm_local.kernels.cpu.library import NativeLibrary, dtype_code


class EmbedArguments(ctypes.Structure):
    """`EmbedArguments` of native/api.h."""

    _fields_ = (
        ("table", ctypes.c_void_p),
        ("token_ids", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("num_rows", ctypes.c_int64),
        ("size", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
    )


class NativeEmbedding:
    """An embedding table.

    Attributes:
        table: [V, H] in the model's dtype.
    """

    __slots__ = ("_arguments", "_embed", "table")

    def __init__(self, library: NativeLibrary, table: torch.Tensor) -> None:
        """Keeps a table [V, H], float32 or bfloat16, contiguous."""
        self.table = table
        self._embed = library.function("embed")
        self._arguments = EmbedArguments(table=table.data_ptr(), size=table.shape[1], dtype=dtype_code(table.dtype))

    def __call__(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Returns the rows of token ids [T] (int64) as float32 [T, H]."""
        rows = torch.empty((token_ids.shape[0], self.table.shape[1]))
        arguments = self._arguments
        arguments.token_ids, arguments.output = token_ids.data_ptr(), rows.data_ptr()
        arguments.num_rows = token_ids.shape[0]
        self._embed(ctypes.byref(arguments))
        return rows
