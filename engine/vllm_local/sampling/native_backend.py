"""Sampling by the native library, on the CPU."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vllm_local.kernels.cpu.sampling import SAMPLING_ROW, DescribeKernel, SampleCall
from vllm_local.outputs import TokenLogprobs

if TYPE_CHECKING:
    import torch

    from vllm_local.kernels.cpu.library import NativeLibrary
    from vllm_local.kernels.cpu.sampling import DescribedRows
    from vllm_local.sampling.backend import LogprobRequest
    from vllm_local.sampling.sampling_metadata import SamplingMetadata


class NativeSampling:
    """See `vllm_local.sampling.backend.SamplingBackend` for what the methods do.

    A row's token is the same bits' doing whoever else is in the batch, at any number of threads.

    Attributes:
        keeps_logits: True.
    """

    keeps_logits = True

    def __init__(self, library: NativeLibrary) -> None:
        """Takes the library's functions."""
        self._library = library
        self._describe = DescribeKernel(library)
        # One metadata serves many steps; its rows are laid out once.
        self._metadata: SamplingMetadata | None = None
        self._call = SampleCall(library, np.empty(0, dtype=SAMPLING_ROW))

    def sample(
        self, logits: torch.Tensor, metadata: SamplingMetadata
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Samples all rows in one call."""
        if metadata is not self._metadata:
            self._metadata, self._call = metadata, SampleCall(self._library, _lay_out(metadata))
        if len(metadata.random.rows):
            self._call.uniforms[metadata.random.rows] = metadata.uniforms()
        return self._call(logits)

    def describe(
        self, logits: torch.Tensor, request: LogprobRequest
    ) -> tuple[list[TokenLogprobs | None], npt.NDArray[np.float32]]:
        """Describes the rows' tokens and named ones in one call."""
        num_rows = len(request.rows)
        named_rows = np.repeat(list(request.named), [len(ids) for ids in request.named.values()]).astype(np.int64)
        named_ids = np.fromiter(chain.from_iterable(request.named.values()), dtype=np.int64)
        found = self._describe(
            logits,
            request.rows,
            request.num_top,
            np.concatenate((np.arange(num_rows), named_rows)),
            np.concatenate((request.token_ids, named_ids)),
        )
        result = [_describe_row(found, request, row) for row in range(num_rows)]
        start = num_rows
        for row, ids in request.named.items():
            result[row] = _list_named(found, request, row, slice(start, start + len(ids)))
            start += len(ids)
        sound = np.isfinite(found.largest).tolist()
        return [item if is_sound else None for item, is_sound in zip(result, sound, strict=True)], found.largest


def _lay_out(metadata: SamplingMetadata) -> npt.NDArray[np.void]:
    rows = np.zeros(len(metadata.states), dtype=SAMPLING_ROW)
    rows["log_min_p"] = -np.inf
    rows["top_p"] = 1.0
    random = metadata.random
    rows["temperature"][random.rows] = random.temperature[:, 0].numpy()
    if random.log_min_p is not None:
        rows["log_min_p"][random.rows] = random.log_min_p[:, 0].numpy()
    rows["top_k"][random.rows[random.filtered]] = random.filters.top_k
    rows["top_p"][random.rows[random.filtered]] = random.filters.top_p
    return rows


def _describe_row(found: DescribedRows, request: LogprobRequest, row: int) -> TokenLogprobs:
    count = int(request.num_top[row])
    return TokenLogprobs(
        token_id=int(request.token_ids[row]),
        logprob=float(found.query_logprobs[row]),
        rank=int(found.query_ranks[row]),
        top_token_ids=tuple(found.top_token_ids[row, :count].tolist()),
        top_logprobs=tuple(found.top_logprobs[row, :count].tolist()),
    )


def _list_named(found: DescribedRows, request: LogprobRequest, row: int, queries: slice) -> TokenLogprobs:
    return TokenLogprobs(
        token_id=int(request.token_ids[row]),
        logprob=float(found.query_logprobs[row]),
        rank=int(found.query_ranks[row]),
        top_token_ids=tuple(request.named[row]),
        top_logprobs=tuple(found.query_logprobs[queries].tolist()),
        top_ranks=tuple(found.query_ranks[queries].tolist()),
    )
