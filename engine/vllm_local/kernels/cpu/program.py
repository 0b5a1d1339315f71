"""A network's kernel calls, recorded once and then made by one call of the native library a step."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from vllm_local.kernels.cpu.kv_cache import NativeKVCache
from vllm_local.kernels.cpu.step import NativeStep
from vllm_local.kernels.interface import Network

if TYPE_CHECKING:
    from vllm_local.kernels.cpu.backend import NativeKernels

_KINDS = {
    name: kind
    for kind, name in enumerate(("norm", "linear", "rotate_and_cache", "attend", "route", "grouped_linear", "combine"))
}
"""OPERATION_* of native/api.h."""


class OperationStructure(ctypes.Structure):
    """`Operation` of native/api.h."""

    _fields_ = (("arguments", ctypes.c_void_p), ("kind", ctypes.c_int64))


class RunArguments(ctypes.Structure):
    """`RunArguments` of native/api.h."""

    _fields_ = (
        ("operations", ctypes.c_void_p),
        ("num_operations", ctypes.c_int64),
        ("step", ctypes.c_void_p),
        ("residual", ctypes.c_void_p),
        ("recorded_residual", ctypes.c_void_p),
    )


class Recording:
    """Takes down calls instead of making them, and hands out the memory for their results.

    Memory is handed out anew as soon as the network has let go of the tensor: so many results as are needed at the
    same time are kept, not those of all layers.
    """

    def __init__(self, num_rows: int) -> None:
        """Starts with no calls.

        Args:
            num_rows: Rows that results have room for.
        """
        self._num_rows = num_rows
        self._calls: list[tuple[str, ctypes.Structure]] = []
        self._buffers: list[torch.Tensor] = []
        self._free: dict[tuple[int, torch.dtype], list[torch.Tensor]] = {}

    def empty(self, num_columns: int, dtype: torch.dtype) -> torch.Tensor:
        """Returns memory for results [rows, columns], whose contents are whatever was there."""
        free = self._free.setdefault((num_columns, dtype), [])
        if not free:
            free.append(torch.empty((self._num_rows, num_columns), dtype=dtype))
            self._buffers.append(free[0])
        buffer = free.pop()
        handed_out = buffer.view(buffer.shape)
        weakref.finalize(handed_out, free.append, buffer)
        return handed_out

    def add(self, name: str, arguments: ctypes.Structure) -> None:
        """Takes down a call of one of the library's functions."""
        self._calls.append((name, arguments))

    def finish(self, residual: torch.Tensor) -> RunArguments:
        """Returns the calls for the library; the recording must live as long.

        Args:
            residual: The residual stream that the network was recorded with.
        """
        self._operations = (OperationStructure * len(self._calls))(
            *(OperationStructure(ctypes.addressof(arguments), _KINDS[name]) for name, arguments in self._calls)
        )
        return RunArguments(
            operations=ctypes.addressof(self._operations),
            num_operations=len(self._calls),
            recorded_residual=residual.data_ptr(),
        )


class NativeProgram:
    """Runs a network. It is recorded at the first step, and again when a step has more tokens or other caches."""

    __slots__ = ("_arguments", "_kernels", "_kv_caches", "_network", "_num_rows", "_recording", "_run")

    def __init__(self, kernels: NativeKernels, network: Network) -> None:
        """Remembers what to record.

        Args:
            kernels: What records it.
            network: The network.
        """
        self._kernels = kernels
        self._network = network
        self._run = kernels.library.function("run")
        self._num_rows = 0
        self._kv_caches: Sequence[NativeKVCache] | None = None

    def __call__(self, residual: torch.Tensor, step: NativeStep, kv_caches: Sequence[NativeKVCache]) -> None:
        """Updates the residual stream [T, H] in place."""
        if residual.shape[0] > self._num_rows or kv_caches is not self._kv_caches:
            self._record(residual, step, kv_caches)
        arguments = self._arguments
        arguments.step, arguments.residual = step.address, residual.data_ptr()
        self._run(ctypes.byref(arguments))

    def _record(self, residual: torch.Tensor, step: NativeStep, kv_caches: Sequence[NativeKVCache]) -> None:
        # Powers of two, so that steps that grow a little are not recorded each time.
        num_rows = max(self._num_rows, 1 << (residual.shape[0] - 1).bit_length())
        with self._kernels.recording(num_rows) as recording:
            self._network(self._kernels, residual, step, kv_caches)
        self._arguments = recording.finish(residual)
        self._recording, self._kv_caches, self._num_rows = recording, kv_caches, num_rows
