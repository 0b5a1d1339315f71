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
        ("packed", ctypes.c_int32),
    )


class NativeEmbedding:
    """An embedding table: rows of its own, or the weights of the LM head that is tied to it.

    Attributes:
        size: Numbers in a row (H).
    """

    __slots__ = ("_table", "_template", "size")

    def __init__(self, table: torch.Tensor, size: int, dtype: torch.dtype, *, is_packed: bool = False) -> None:
        """Keeps a table.

        Args:
            table: [V, H], contiguous, or what a linear packed of that.
            size: Numbers in a row (H).
            dtype: Their format, float32 or bfloat16.
            is_packed: The table is a linear's.
        """
        self.size = size
        self._table = table
        self._template = EmbedArguments(table=table.data_ptr(), size=size, dtype=dtype_code(dtype), packed=is_packed)

    def arguments(self, token_ids: torch.Tensor, output: torch.Tensor) -> EmbedArguments:
        """Returns the arguments of a call that looks up token ids [T] (int64), into an output [T, H] float32."""
        arguments = EmbedArguments.from_buffer_copy(self._template)
        arguments.token_ids, arguments.output = token_ids.data_ptr(), output.data_ptr()
        arguments.num_rows = token_ids.shape[0]
        return arguments
