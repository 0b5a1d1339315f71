"""Sampling by torch's operators, on any device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from vllm_local.sampling.blocks import argmax, block_maxima, draw_from_all, pad_to_blocks
from vllm_local.sampling.candidates import apply_min_p, draw_filtered
from vllm_local.sampling.logprobs import compute_logprobs

if TYPE_CHECKING:
    from vllm_local.outputs import TokenLogprobs
    from vllm_local.sampling.backend import LogprobRequest
    from vllm_local.sampling.sampling_metadata import SamplingMetadata


class TorchSampling:
    """See `vllm_local.sampling.backend.SamplingBackend` for what the methods do."""

    def sample(
        self, logits: torch.Tensor, metadata: SamplingMetadata
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Finds block maxima, then takes or draws tokens."""
        logits = pad_to_blocks(logits)
        maxima = block_maxima(logits)
        largest = maxima.amax(1)
        found: npt.NDArray[np.float32] = largest.cpu().numpy().copy()
        broken = np.flatnonzero(~np.isfinite(found))
        if len(broken):
            rows = _index(broken, logits)
            logits[rows], maxima[rows], largest[rows] = 0.0, 0.0, 0.0
        token_ids = np.empty(len(logits), dtype=np.int64)
        greedy = metadata.greedy
        if len(greedy):
            token_ids[greedy] = argmax(_select(logits, greedy), _select(maxima, greedy))
        if len(metadata.random.rows):
            token_ids[metadata.random.rows] = _draw(logits, largest, metadata)
        return token_ids, found

    def sample_and_describe(
        self, logits: torch.Tensor, metadata: SamplingMetadata
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], list[TokenLogprobs | None]]:
        """Copies the rows that are described, since logits are scaled where they are."""
        rows = metadata.logprob_rows
        raw = logits[_index(rows, logits)]
        token_ids, largest = self.sample(logits, metadata)
        described, _ = self.describe(raw, metadata.logprob_request(token_ids))
        return token_ids, largest, described

    def describe(
        self, logits: torch.Tensor, request: LogprobRequest
    ) -> tuple[list[TokenLogprobs | None], npt.NDArray[np.float32]]:
        """Describes the rows that can be."""
        chosen = pad_to_blocks(logits)
        largest: npt.NDArray[np.float32] = block_maxima(chosen).amax(1).cpu().numpy()
        sound = np.isfinite(largest)
        result: list[TokenLogprobs | None] = [None] * len(largest)
        if sound.any():
            kept = request.select(sound)
            rows = _select(chosen, np.flatnonzero(sound))
            described = compute_logprobs(rows, kept.token_ids, kept.num_top, kept.named)
            for row, item in zip(np.flatnonzero(sound).tolist(), described, strict=True):
                result[row] = item
        return result, largest


def _index(rows: npt.NDArray[np.int64], like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(rows).to(like.device)


def _select(values: torch.Tensor, rows: npt.NDArray[np.int64]) -> torch.Tensor:
    return values if len(rows) == len(values) else values[_index(rows, values)]


def _draw(logits: torch.Tensor, largest: torch.Tensor, metadata: SamplingMetadata) -> npt.NDArray[np.int64]:
    random = metadata.random
    scaled = _select(logits, random.rows)
    scaled.sub_(_select(largest, random.rows)[:, None]).div_(random.temperature)
    if random.log_min_p is not None:
        apply_min_p(scaled, random.log_min_p)
    uniforms = metadata.uniforms()
    tokens = np.empty(len(scaled), dtype=np.int64)
    if len(random.unfiltered):
        tokens[random.unfiltered] = draw_from_all(_select(scaled, random.unfiltered), uniforms[random.unfiltered])
    if len(random.filtered):
        rows = _select(scaled, random.filtered)
        tokens[random.filtered] = draw_filtered(rows, random.filters, uniforms[random.filtered])
    return tokens
