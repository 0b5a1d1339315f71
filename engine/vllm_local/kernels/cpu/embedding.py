"""Token embedding by the native library."""

from __future__ import annotations

import ctypes

import torch

from vllm_local.kernels.cpu.library import dtype_code


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

    __slots__ = ("_template", "table")

    def __init__(self, table: torch.Tensor) -> None:
        """Keeps a table [V, H], float32 or bfloat16, contiguous."""
        self.table = table
        self._template = EmbedArguments(table=table.data_ptr(), size=table.shape[1], dtype=dtype_code(table.dtype))

    @property
    def size(self) -> int:
        """Numbers in a row (H)."""
        return self.table.shape[1]

    def arguments(self, token_ids: torch.Tensor, output: torch.Tensor) -> EmbedArguments:
        """Returns the arguments of a call that looks up token ids [T] (int64), into an output [T, H] float32."""
        arguments = EmbedArguments.from_buffer_copy(self._template)
        arguments.token_ids, arguments.output = token_ids.data_ptr(), output.data_ptr()
        arguments.num_rows = token_ids.shape[0]
        return arguments
