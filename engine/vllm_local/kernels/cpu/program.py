"""A network's kernel calls and its head's, recorded once and then made by one call of the native library a step."""

from __future__ import annotations

import ctypes
import operator
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from vllm_local.kernels.cpu.embedding import EmbedArguments
from vllm_local.kernels.cpu.kv_cache import NativeKVCache
from vllm_local.kernels.cpu.linear import LinearArguments
from vllm_local.kernels.cpu.step import NativeStep
from vllm_local.kernels.interface import Head, Network

if TYPE_CHECKING:
    from vllm_local.kernels.cpu.backend import NativeKernels

_KINDS = {
    name: kind
    for kind, name in enumerate(
        ("norm", "linear", "rotate_and_cache", "attend", "route", "grouped_linear", "combine", "embed")
    )
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

    @property
    def first(self) -> EmbedArguments:
        """The first call's arguments, which look up the token ids."""
        arguments = self._calls[0][1]
        assert isinstance(arguments, EmbedArguments), "a network begins with its embedding"
        return arguments

    @property
    def head(self) -> LinearArguments:
        """The last call's arguments, which write the logits."""
        arguments = self._calls[-1][1]
        assert isinstance(arguments, LinearArguments), "a head is one linear"
        return arguments

    def finish(self) -> RunArguments:
        """Returns the calls for the library; the recording must live as long."""
        self._operations = (OperationStructure * len(self._calls))(
            *(OperationStructure(ctypes.addressof(arguments), _KINDS[name]) for name, arguments in self._calls)
        )
        return RunArguments(operations=ctypes.addressof(self._operations), num_operations=len(self._calls))


class NativeProgram:
    """Runs a network and its head. They are recorded at the first step, and again for more tokens or other caches."""

    __slots__ = (
        "_arguments",
        "_embed",
        "_head",
        "_hidden",
        "_kernels",
        "_kv_caches",
        "_logits",
        "_memory",
        "_network",
        "_num_operations",
        "_num_rows",
        "_recording",
        "_reference",
        "_run",
        "_told",
    )

    def __init__(self, kernels: NativeKernels, network: Network, head: Head) -> None:
        """Remembers what to record.

        Args:
            kernels: What records it.
            network: The network.
            head: Its head.
        """
        self._kernels = kernels
        self._network, self._head = network, head
        self._run = kernels.library.function("run")
        self._num_rows = 0
        self._told: tuple[object, ...] = (None, None, None, None)
        self._kv_caches: Sequence[NativeKVCache] | None = None
        self._arguments: RunArguments
        self._embed: EmbedArguments
        self._hidden: torch.Tensor
        self._memory: torch.Tensor
        self._logits: LinearArguments
        self._num_operations: int

    def __call__(
        self,
        token_ids: torch.Tensor,
        step: NativeStep,
        kv_caches: Sequence[NativeKVCache],
        logits: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `vllm_local.kernels.interface.Program`."""
        # Steps of decoding come with the same tensors; to ask each of them for its address takes longer than the call.
        known = (token_ids, step, kv_caches, logits)
        if not all(map(operator.is_, known, self._told)):
            self._tell(*known)
            self._told = known
        self._run(self._reference)
        return self._hidden

    def _tell(
        self,
        token_ids: torch.Tensor,
        step: NativeStep,
        kv_caches: Sequence[NativeKVCache],
        logits: torch.Tensor | None,
    ) -> None:
        """Writes into the calls what is different in this step."""
        num_tokens = token_ids.shape[0]
        if num_tokens > self._num_rows or kv_caches is not self._kv_caches:
            self._record(token_ids, step, kv_caches)
        # Between two steps no operation of torch's is called: it would let go of the interpreter's lock, and the thread
        # that delivers the last step's tokens would hold it until it is done.
        if self._hidden.shape[0] != num_tokens:
            self._hidden = self._memory[:num_tokens]
        self._embed.token_ids = token_ids.data_ptr()
        self._arguments.step = step.address
        self._arguments.num_operations = self._num_operations
        if logits is None:
            self._arguments.num_operations -= 1
        else:
            self._logits.output, self._logits.output_stride = logits.data_ptr(), logits.stride(0)

    def _record(self, token_ids: torch.Tensor, step: NativeStep, kv_caches: Sequence[NativeKVCache]) -> None:
        # Powers of two, so that steps that grow a little are not recorded each time.
        num_rows = max(self._num_rows, 1 << (token_ids.shape[0] - 1).bit_length())
        with self._kernels.recording(num_rows) as recording:
            self._hidden = self._memory = self._network(self._kernels, token_ids, step, kv_caches)
            self._head(self._kernels, self._memory, torch.empty((1, 1)))
        self._arguments, self._embed, self._logits = recording.finish(), recording.first, recording.head
        self._reference = ctypes.byref(self._arguments)
        self._num_operations = self._arguments.num_operations
        self._recording, self._kv_caches, self._num_rows = recording, kv_caches, num_rows
