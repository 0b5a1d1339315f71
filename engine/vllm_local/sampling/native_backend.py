"""Sampling by the native library, on the CPU."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from vllm_local.kernels.cpu.sampling import SAMPLING_ROW, DescribeCall, SampleCall
from vllm_local.outputs import TokenLogprobs
from vllm_local.sampling.sampling_metadata import limiting_top_k, log_min_p_of

if TYPE_CHECKING:
    import torch

    from vllm_local.kernels.cpu.library import NativeLibrary
    from vllm_local.sampling.backend import LogprobRequest
    from vllm_local.sampling.sampling_metadata import SamplingMetadata


class NativeSampling:
    """See `vllm_local.sampling.backend.SamplingBackend` for what the methods do.

    A row's token is the same bits' doing whoever else is in the batch, at any number of threads.
    """

    def __init__(self, library: NativeLibrary) -> None:
        """Takes the library's functions."""
        self._library = library
        # One metadata serves many steps; its rows are laid out once.
        self._metadata: SamplingMetadata | None = None
        self._description: _Description | None = None
        self._call: SampleCall
        # Where all rows' random numbers go.
        self._uniforms: memoryview[float]

    def sample(
        self, logits: torch.Tensor, metadata: SamplingMetadata
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Samples all rows in one call."""
        return self._call_of(metadata)(logits)

    def sample_and_describe(
        self, logits: torch.Tensor, metadata: SamplingMetadata
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], list[TokenLogprobs | None]]:
        """Does both in one call, which reads the logits once for most of it."""
        token_ids, largest = self._call_of(metadata)(logits, describe=True)
        assert self._description is not None, "no row asks for log-probabilities"
        return token_ids, largest, self._description.rows()

    def describe(
        self, logits: torch.Tensor, request: LogprobRequest
    ) -> tuple[list[TokenLogprobs | None], npt.NDArray[np.float32]]:
        """Describes the rows' tokens and named ones in one call."""
        description = _Description(self._library, request.num_top, request.named)
        description.call.query_token_ids[: len(request.token_ids)] = request.token_ids
        description.call(logits)
        return description.rows(), description.call.largest

    def _call_of(self, metadata: SamplingMetadata) -> SampleCall:
        """Returns the call for these rows, with this step's random numbers."""
        if metadata is not self._metadata:
            self._metadata = metadata
            self._description = description = self._description_of(metadata)
            described = None if description is None else description.call
            self._call = SampleCall(self._library, _lay_out(metadata), metadata.logprob_rows, described)
            self._uniforms = cast("memoryview[float]", self._call.uniforms.data)
        for row in metadata.drawn:
            self._uniforms[row] = metadata.uniform(row)
        return self._call

    def _description_of(self, metadata: SamplingMetadata) -> _Description | None:
        if not metadata.describes:
            return None
        return _Description(self._library, metadata.num_top_logprobs, metadata.named_logprobs)


class _Description:
    """A native call that describes P rows, and what it found in words of this package.

    Attributes:
        call: The call. The first P queries ask for the rows' own tokens; the named ones follow.
    """

    def __init__(
        self, library: NativeLibrary, num_top: npt.NDArray[np.int64], named: Mapping[int, Sequence[int]]
    ) -> None:
        own, lengths = np.arange(len(num_top)), [len(ids) for ids in named.values()]
        others = np.repeat(np.array(list(named), dtype=np.int64), lengths)
        self.call = DescribeCall(library, num_top, np.concatenate((own, others)))
        self.call.query_token_ids[len(own) :] = np.fromiter(chain.from_iterable(named.values()), dtype=np.int64)
        ends = np.cumsum([len(own), *lengths]).tolist()
        self._named = {row: slice(*ends[index : index + 2]) for index, row in enumerate(named)}

    def rows(self) -> list[TokenLogprobs | None]:
        """Returns what the last call found of each row [P]; None where its logits are no numbers."""
        call = self.call
        counts = [min(count, call.arguments.vocab_size) for count in call.num_top.tolist()]
        columns = (call.query_token_ids, call.query_logprobs, call.query_ranks, call.top_token_ids, call.top_logprobs)
        found = zip(counts, *(column.tolist() for column in columns), strict=False)
        result: list[TokenLogprobs | None] = [
            TokenLogprobs(token_id, logprob, rank, tuple(top_token_ids[:count]), tuple(top_logprobs[:count]))
            for count, token_id, logprob, rank, top_token_ids, top_logprobs in found
        ]
        for row in self._named:
            result[row] = self._list_named(row)
        for row, largest in enumerate(call.largest.tolist()):
            if not math.isfinite(largest):
                result[row] = None
        return result

    def _list_named(self, row: int) -> TokenLogprobs:
        call, queries = self.call, self._named[row]
        return TokenLogprobs(
            token_id=int(call.query_token_ids[row]),
            logprob=float(call.query_logprobs[row]),
            rank=int(call.query_ranks[row]),
            top_token_ids=tuple(call.query_token_ids[queries].tolist()),
            top_logprobs=tuple(call.query_logprobs[queries].tolist()),
            top_ranks=tuple(call.query_ranks[queries].tolist()),
        )


def _lay_out(metadata: SamplingMetadata) -> npt.NDArray[np.void]:
    rows: list[tuple[float, float, int, float]] = [(0.0, -math.inf, 0, 1.0)] * len(metadata.states)
    for row in metadata.drawn:
        params = metadata.states[row].params
        top_k = limiting_top_k(params, metadata.vocab_size)
        rows[row] = (params.temperature, log_min_p_of(params), top_k, params.top_p)
    return np.array(rows, dtype=SAMPLING_ROW)
