"""Sampling over whole vocabularies by the native library: one call a step."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt
import torch

from vllm_local.kernels.cpu.library import NativeLibrary

SAMPLING_ROW = np.dtype(
    [("temperature", np.float32), ("log_min_p", np.float32), ("top_k", np.int64), ("top_p", np.float64)], align=True
)
"""`SamplingRow` of native/api.h: how one row is sampled. A temperature of 0 takes the largest logit."""


class DescribeArguments(ctypes.Structure):
    """`DescribeArguments` of native/api.h."""

    _fields_ = (
        ("logits", ctypes.c_void_p),
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


class SampleArguments(ctypes.Structure):
    """`SampleArguments` of native/api.h."""

    _fields_ = (
        ("logits", ctypes.c_void_p),
        ("rows", ctypes.c_void_p),
        ("uniforms", ctypes.c_void_p),
        ("token_ids", ctypes.c_void_p),
        ("largest", ctypes.c_void_p),
        ("description", ctypes.c_void_p),
        ("described_rows", ctypes.c_void_p),
        ("num_rows", ctypes.c_int64),
        ("vocab_size", ctypes.c_int64),
        ("stride", ctypes.c_int64),
    )


class DescribeCall:
    """Describes P rows of logits and answers Q queries, with memory that serves every call.

    Attributes:
        arguments: What the native library is told.
        num_top: How many of the most probable tokens each row lists [P].
        query_rows: Rows, as indices among the P, whose tokens are asked for [Q].
        query_token_ids: Those tokens [Q], to be written before a call.
        largest: Each row's largest logit [P] float32; where it is not finite, the rest has no meaning.
        top_token_ids: Each row's most probable tokens [P, N], as many as it asked for and there are.
        top_logprobs: Their log-probabilities [P, N].
        query_logprobs: Log-probabilities of the queries' tokens [Q].
        query_ranks: One more than the number of tokens with a larger logit [Q].
    """

    __slots__ = (
        "_describe",
        "arguments",
        "largest",
        "num_top",
        "query_logprobs",
        "query_ranks",
        "query_rows",
        "query_token_ids",
        "top_logprobs",
        "top_token_ids",
    )

    def __init__(
        self, library: NativeLibrary, num_top: npt.NDArray[np.int64], query_rows: npt.NDArray[np.int64]
    ) -> None:
        """Allocates the memory.

        Args:
            library: The native library.
            num_top: How many of the most probable tokens each row lists [P].
            query_rows: Rows, as indices among the P, whose tokens are asked for [Q].
        """
        num_rows, num_queries, num_listed = len(num_top), len(query_rows), int(num_top.max(initial=0))
        self.num_top, self.query_rows = num_top, query_rows
        self.query_token_ids = np.zeros(num_queries, dtype=np.int64)
        self.largest = np.empty(num_rows, dtype=np.float32)
        self.top_token_ids = np.empty((num_rows, num_listed), dtype=np.int64)
        self.top_logprobs = np.empty((num_rows, num_listed), dtype=np.float64)
        self.query_logprobs = np.empty(num_queries, dtype=np.float64)
        self.query_ranks = np.empty(num_queries, dtype=np.int64)
        self._describe = library.function("describe")
        self.arguments = DescribeArguments(
            num_top=num_top.ctypes.data,
            top_token_ids=self.top_token_ids.ctypes.data,
            top_logprobs=self.top_logprobs.ctypes.data,
            largest=self.largest.ctypes.data,
            query_rows=query_rows.ctypes.data,
            query_token_ids=self.query_token_ids.ctypes.data,
            query_logprobs=self.query_logprobs.ctypes.data,
            query_ranks=self.query_ranks.ctypes.data,
            num_rows=num_rows,
            num_queries=num_queries,
            top_stride=num_listed,
        )

    def __call__(self, logits: torch.Tensor) -> None:
        """Finds log-probabilities under the logits as they are; the next call overwrites them.

        Args:
            logits: float32 [P, V] on the CPU; stay as they are.
        """
        arguments = self.arguments
        assert len(logits) == arguments.num_rows, "as many logits as rows"
        arguments.logits, arguments.stride = _logits_address(logits), logits.stride(0)
        arguments.vocab_size = logits.shape[1]
        self._describe(ctypes.byref(arguments))


class SampleCall:
    """Draws from R rows of logits, in one call and with memory that serves every call.

    Attributes:
        uniforms: A number in [0, 1) a row [R], to be written before a call; read for rows that draw.
    """

    __slots__ = (
        "_arguments",
        "_described_rows",
        "_description",
        "_largest",
        "_logits",
        "_reference",
        "_rows",
        "_sample",
        "_token_ids",
        "uniforms",
    )

    def __init__(
        self,
        library: NativeLibrary,
        rows: npt.NDArray[np.void],
        described_rows: npt.NDArray[np.int64],
        description: DescribeCall | None,
    ) -> None:
        """Allocates the memory.

        Args:
            library: The native library.
            rows: How each row is sampled [R], of `SAMPLING_ROW`.
            described_rows: Which rows can be described [P].
            description: What of them, if any; its first P queries ask for the tokens that are drawn.
        """
        assert rows.dtype == SAMPLING_ROW, "rows of another layout"
        num_rows = len(rows)
        self.uniforms = np.zeros(num_rows, dtype=np.float64)
        self._rows, self._described_rows, self._description = rows, described_rows, description
        self._token_ids = np.empty(num_rows, dtype=np.int64)
        self._largest = np.empty(num_rows, dtype=np.float32)
        self._sample = library.function("sample")
        self._logits: torch.Tensor | None = None
        self._arguments = SampleArguments(
            rows=rows.ctypes.data,
            uniforms=self.uniforms.ctypes.data,
            token_ids=self._token_ids.ctypes.data,
            largest=self._largest.ctypes.data,
            described_rows=described_rows.ctypes.data,
            num_rows=num_rows,
        )
        self._reference = ctypes.byref(self._arguments)

    def __call__(
        self, logits: torch.Tensor, *, describe: bool = False
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Samples a token from each row.

        Args:
            logits: float32 [R, V] on the CPU; stay as they are.
            describe: Whether the description is to be made too; there has to be one.

        Returns:
            The tokens [R], and each row's largest logit [R]; where that is not finite, the token has no meaning. The
            next call overwrites both.
        """
        arguments = self._arguments
        # Steps of the same requests come with the same tensor; to ask it for all this takes longer than the rest.
        if logits is not self._logits:
            assert len(logits) == len(self._rows), "as many logits as rows"
            arguments.logits, arguments.stride = _logits_address(logits), logits.stride(0)
            arguments.vocab_size = logits.shape[1]
            self._logits = logits
        arguments.description = self._address_of_description(arguments.vocab_size) if describe else None
        self._sample(self._reference)
        return self._token_ids, self._largest

    def _address_of_description(self, vocab_size: int) -> int:
        assert self._description is not None, "nothing is described"
        self._description.arguments.vocab_size = vocab_size
        return ctypes.addressof(self._description.arguments)


def _logits_address(logits: torch.Tensor) -> int:
    assert logits.dtype == torch.float32, "logits are float32"
    assert logits.stride(1) == 1, "a row's logits are neighbours"
    return logits.data_ptr()
