"""From logits to tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from vllm_local.sampling.blocks import argmax, block_maxima, draw_from_all, pad_to_blocks
from vllm_local.sampling.candidates import apply_min_p, draw_filtered
from vllm_local.sampling.logprobs import compute_logprobs
from vllm_local.sampling.masks import allow_only, apply_bias, apply_bitmask, forbid
from vllm_local.sampling.penalties import apply_penalties

if TYPE_CHECKING:
    from vllm_local.outputs import TokenLogprobs
    from vllm_local.sampling.sampling_metadata import SamplingMetadata


@dataclass(slots=True)
class SampledRows:
    """What the sampler found for R rows.

    Attributes:
        token_ids: One token a row. Where `errors` names the row it is a valid id without a meaning.
        logprobs: By row, for rows that asked.
        errors: Why a row has no token, by row.
    """

    token_ids: list[int]
    logprobs: dict[int, TokenLogprobs] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)


class Sampler:
    """Takes logits of R rows to R tokens, in these steps; a step touches only the rows that ask for it.

    1. Keep the raw logits of rows that want log-probabilities.
    2. Forbid all tokens but `allowed_token_ids`.
    3. Forbid the tokens that would complete one of `bad_words`.
    4. Forbid the end tokens of answers shorter than `min_tokens`.
    5. Add `logit_bias`.
    6. Apply repetition, frequency and presence penalties.
    7. Forbid what the grammar's bitmask forbids.
    8. Find each row's largest logit. A row without a finite one has no token: it gets an error, the others go on.
    9. Greedy rows: take that token, the lowest id among equals.
    10. Other rows: divide by the temperature; apply min_p, then top_k, then top_p; draw with the position's own number.
    11. Log-probabilities, ranks and alternatives from the raw logits of step 1 (before any of the above).

    The order is vLLM's (`v1/sample/sampler.py`), whose bitmask comes first; since 2, 3, 4 and 7 forbid for good, the
    outcome is the same, and the log-probabilities here are the model's own.
    """

    def sample(
        self,
        logits: torch.Tensor,
        metadata: SamplingMetadata,
        grammar_bitmask: npt.NDArray[np.int32] | None = None,
    ) -> SampledRows:
        """Samples one token a row.

        Args:
            logits: float32 [R, V]; overwritten.
            metadata: How the rows are sampled.
            grammar_bitmask: Allowed tokens, one bit a token [R, ceil(V / 32)], or None.
        """
        logits = pad_to_blocks(logits)
        raw = logits[_index(metadata.logprob_rows, logits)] if len(metadata.logprob_rows) else None
        _edit(logits, metadata, grammar_bitmask)
        maxima = block_maxima(logits)
        largest = maxima.amax(1)
        errors = _find_errors(largest, metadata)
        if errors:
            rows = torch.tensor(list(errors), device=logits.device)
            logits[rows], maxima[rows], largest[rows] = 0.0, 0.0, 0.0
        token_ids = np.empty(len(logits), dtype=np.int64)
        if len(metadata.greedy):
            token_ids[metadata.greedy] = _take_largest(logits, maxima, metadata)
        if len(metadata.random.rows):
            token_ids[metadata.random.rows] = _draw(logits, largest, metadata)
        sampled = SampledRows(token_ids.tolist(), errors=errors)
        if raw is not None:
            sampled.logprobs = _describe(raw, token_ids, metadata, errors)
        return sampled

    def describe(
        self, logits: torch.Tensor, token_ids: npt.NDArray[np.int64], num_top: npt.NDArray[np.int64]
    ) -> SampledRows:
        """Describes tokens that are there already, those of a prompt.

        Args:
            logits: float32 [R, V]; overwritten.
            token_ids: The tokens [R].
            num_top: How many of the most probable tokens each row lists [R].
        """
        logits = pad_to_blocks(logits)
        largest = block_maxima(logits).amax(1).cpu().numpy()
        errors = {
            int(row): _no_numbers(float(largest[row]), "the prompt") for row in np.flatnonzero(~np.isfinite(largest))
        }
        sound = np.flatnonzero(np.isfinite(largest))
        described = compute_logprobs(_select(logits, sound), token_ids[sound], num_top[sound]) if len(sound) else []
        return SampledRows(token_ids.tolist(), dict(zip(sound.tolist(), described, strict=True)), errors)


def _index(rows: npt.NDArray[np.int64], like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(rows).to(like.device)


def _select(values: torch.Tensor, rows: npt.NDArray[np.int64]) -> torch.Tensor:
    return values if len(rows) == len(values) else values[_index(rows, values)]


def _edit(logits: torch.Tensor, metadata: SamplingMetadata, bitmask: npt.NDArray[np.int32] | None) -> None:
    for row, token_ids in metadata.allowed:
        allow_only(logits, row, token_ids)
    for row, bad_words in metadata.bad_words:
        forbid(logits, row, torch.tensor(bad_words.forbidden_token_ids(), dtype=torch.int64, device=logits.device))
    for row, min_tokens, end_token_ids in metadata.held_back:
        if metadata.output_positions[row] < min_tokens:
            forbid(logits, row, end_token_ids)
    apply_bias(logits, metadata.bias)
    apply_penalties(logits, metadata.penalised)
    if bitmask is not None:
        apply_bitmask(logits, bitmask)


def _find_errors(largest: torch.Tensor, metadata: SamplingMetadata) -> dict[int, str]:
    values = largest.cpu().numpy()
    return {
        int(row): _explain(float(values[row]), int(metadata.output_positions[row]))
        for row in np.flatnonzero(~np.isfinite(values))
    }


def _explain(largest: float, position: int) -> str:
    if largest == -np.inf:
        return (
            f"No token may stand at position {position} of the answer: allowed_token_ids, bad_words, min_tokens and "
            "the constraint on the output forbid all of them together. Loosen one of them."
        )
    return _no_numbers(largest, f"position {position} of the answer")


def _no_numbers(largest: float, place: str) -> str:
    return (
        f"The model computed logits that are no numbers ({largest}) for {place}. Its weights are damaged, or too large "
        "for this dtype: try dtype='bfloat16' or 'float32'."
    )


def _take_largest(logits: torch.Tensor, maxima: torch.Tensor, metadata: SamplingMetadata) -> npt.NDArray[np.int64]:
    return argmax(_select(logits, metadata.greedy), _select(maxima, metadata.greedy))


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


def _describe(
    raw: torch.Tensor, token_ids: npt.NDArray[np.int64], metadata: SamplingMetadata, errors: dict[int, str]
) -> dict[int, TokenLogprobs]:
    rows = metadata.logprob_rows
    sound = np.array([index for index, row in enumerate(rows.tolist()) if row not in errors], dtype=np.int64)
    if not len(sound):
        return {}
    named = {
        place: metadata.named_logprobs[index]
        for place, index in enumerate(sound.tolist())
        if index in metadata.named_logprobs
    }
    described = compute_logprobs(_select(raw, sound), token_ids[rows[sound]], metadata.num_top_logprobs[sound], named)
    return dict(zip(rows[sound].tolist(), described, strict=True))
