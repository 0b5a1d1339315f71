"""Sampling over whole vocabularies by the native library: one call a step, one more for log-probabilities."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from vllm_local.kernels.cpu.library import NativeLibrary

SAMPLING_ROW = np.dtype(
    [("temperature", np.float32), ("log_min_p", np.float32), ("top_k", np.int64), ("top_p", np.float64)], align=True
)
"""`SamplingRow` of native/api.h: how one row is sampled. A temperature of 0 takes the largest logit."""


class SampleArguments(ctypes.Structure):
    """`SampleArguments` of native/api.h."""

    _fields_ = (
        ("logits", ctypes.c_void_p),
        ("rows", ctypes.c_void_p),
        ("uniforms", ctypes.c_void_p),
        ("token_ids", ctypes.c_void_p),
        ("largest", ctypes.c_void_p),
        ("num_rows", ctypes.c_int64),
        ("vocab_size", ctypes.c_int64),
        ("stride", ctypes.c_int64),
    )


class DescribeArguments(ctypes.Structure):
    """`DescribeArguments` of native/api.h."""

    _fields_ = (
        ("logits", ctypes.c_void_p),
        ("row_indices", ctypes.c_void_p),
        ("num_top", ctypes.c_void_p),
        ("top_token_ids", ctypes.c_void_p),
        ("top_logprobs", ctypes.c_void_p),
        ("largest", ctypes.c_void_p),
        ("query_rows", ctypes.c_void_p),
        ("query_token_ids", ctypes.c_void_p),
        ("query_logprobs", ctypes.c_void_p),
        ("query_ranks", ctypes.c_void_p),
        ("num_rows", ctypes.c_int64),
        ("num_queries", ctypes.c_int64),
        ("vocab_size", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        ("top_stride", ctypes.c_int64),
    )


@dataclass(frozen=True, slots=True)
class DescribedRows:
    """Log-probabilities of P rows and Q queries.

    Attributes:
        largest: Each row's largest logit [P] float32; where it is not finite, the rest has no meaning.
        top_token_ids: Each row's most probable tokens [P, N], as many as it asked for.
        top_logprobs: Their log-probabilities [P, N].
        query_logprobs: Log-probabilities of the queries' tokens [Q].
        query_ranks: One more than the number of tokens with a larger logit [Q].
    """

    largest: npt.NDArray[np.float32]
    top_token_ids: npt.NDArray[np.int64]
    top_logprobs: npt.NDArray[np.float64]
    query_logprobs: npt.NDArray[np.float64]
    query_ranks: npt.NDArray[np.int64]


class SampleCall:
    """Draws from R rows of logits, in one call and with memory that serves every call.

    Attributes:
        uniforms: A number in [0, 1) a row [R], to be written before a call; read for rows that draw.
    """

    __slots__ = ("_arguments", "_largest", "_rows", "_sample", "_token_ids", "uniforms")

    def __init__(self, library: NativeLibrary, rows: npt.NDArray[np.void]) -> None:
        """Allocates the memory.

        Args:
            library: The native library.
            rows: How each row is sampled [R], of `SAMPLING_ROW`.
        """
        assert rows.dtype == SAMPLING_ROW, "rows of another layout"
        num_rows = len(rows)
        self.uniforms = np.zeros(num_rows, dtype=np.float64)
        self._rows = rows
        self._token_ids = np.empty(num_rows, dtype=np.int64)
        self._largest = np.empty(num_rows, dtype=np.float32)
        self._sample = library.function("sample")
        self._arguments = SampleArguments(
            rows=rows.ctypes.data,
            uniforms=self.uniforms.ctypes.data,
            token_ids=self._token_ids.ctypes.data,
            largest=self._largest.ctypes.data,
            num_rows=num_rows,
        )

    def __call__(self, logits: torch.Tensor) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Samples a token from each row.

        Args:
            logits: float32 [R, V] on the CPU; stay as they are.

        Returns:
            The tokens [R], and each row's largest logit [R]; where that is not finite, the token has no meaning. The
            next call overwrites both.
        """
        arguments = self._arguments
        num_rows, arguments.vocab_size = logits.shape
        assert num_rows == len(self._rows), "as many logits as rows"
        arguments.logits, arguments.stride = _logits_address(logits), logits.stride(0)
        self._sample(ctypes.byref(arguments))
        return self._token_ids, self._largest


class DescribeKernel:
    """Describes rows of logits. Logits are float32 [R, V] on the CPU, and stay as they are."""

    def __init__(self, library: NativeLibrary) -> None:
        """Finds the function.

        Args:
            library: The native library.
        """
        self._describe = library.function("describe")

    def __call__(
        self,
        logits: torch.Tensor,
        rows: npt.NDArray[np.int64],
        num_top: npt.NDArray[np.int64],
        query_rows: npt.NDArray[np.int64],
        query_token_ids: npt.NDArray[np.int64],
    ) -> DescribedRows:
        """Finds log-probabilities under the logits as they are.

        Args:
            logits: The logits.
            rows: Which rows of the logits to describe [P].
            num_top: How many of the most probable tokens each of them lists [P].
            query_rows: Rows, as indices among the P, whose tokens are asked for [Q].
            query_token_ids: Those tokens [Q].
        """
        vocab_size = logits.shape[1]
        num_rows, num_queries = len(rows), len(query_rows)
        num_listed = min(int(num_top.max(initial=0)), vocab_size)
        result = DescribedRows(
            largest=np.empty(num_rows, dtype=np.float32),
            top_token_ids=np.empty((num_rows, num_listed), dtype=np.int64),
            top_logprobs=np.empty((num_rows, num_listed), dtype=np.float64),
            query_logprobs=np.empty(num_queries, dtype=np.float64),
            query_ranks=np.empty(num_queries, dtype=np.int64),
        )
        arguments = DescribeArguments(
            logits=_logits_address(logits),
            row_indices=rows.ctypes.data,
            num_top=num_top.ctypes.data,
            top_token_ids=result.top_token_ids.ctypes.data,
            top_logprobs=result.top_logprobs.ctypes.data,
            largest=result.largest.ctypes.data,
            query_rows=query_rows.ctypes.data,
            query_token_ids=query_token_ids.ctypes.data,
            query_logprobs=result.query_logprobs.ctypes.data,
            query_ranks=result.query_ranks.ctypes.data,
            num_rows=num_rows,
            num_queries=num_queries,
            vocab_size=vocab_size,
            stride=logits.stride(0),
            top_stride=num_listed,
        )
        self._describe(ctypes.byref(arguments))
        return result


def _logits_address(logits: torch.Tensor) -> int:
    assert logits.dtype == torch.float32, "logits are float32"
    assert logits.stride(1) == 1, "a row's logits are neighbours"
    return logits.data_ptr()
