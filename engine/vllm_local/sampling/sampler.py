"""From logits to tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from vllm_local.sampling.backend import LogprobRequest
from vllm_local.sampling.masks import allow_only, apply_bias, apply_bitmask, forbid
from vllm_local.sampling.penalties import apply_penalties
from vllm_local.sampling.torch_backend import TorchSampling

if TYPE_CHECKING:
    from vllm_local.outputs import TokenLogprobs
    from vllm_local.sampling.backend import SamplingBackend
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

    def __init__(self, backend: SamplingBackend | None = None) -> None:
        """Chooses who reads the vocabularies.

        Args:
            backend: What does steps 8 to 11; None: torch's operators.
        """
        self._backend = TorchSampling() if backend is None else backend

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
        keeps_logits = grammar_bitmask is None and metadata.keeps_logits
        if keeps_logits and not metadata.describes:
            token_ids, largest = self._backend.sample(logits, metadata)
            return SampledRows(token_ids.tolist(), {}, _find_errors(largest, metadata))
        rows = metadata.logprob_rows
        described: list[TokenLogprobs | None] = []
        if keeps_logits:
            token_ids, largest, described = self._backend.sample_and_describe(logits, metadata)
        else:
            raw = logits[torch.from_numpy(rows).to(logits.device)] if len(rows) else logits
            _edit(logits, metadata, grammar_bitmask)
            token_ids, largest = self._backend.sample(logits, metadata)
            if len(rows):
                described, _ = self._backend.describe(raw, metadata.logprob_request(token_ids))
        errors = _find_errors(largest, metadata)
        pairs = zip(rows.tolist(), described, strict=True)
        logprobs = {row: item for row, item in pairs if item is not None and row not in errors}
        return SampledRows(token_ids.tolist(), logprobs, errors)

    def describe(
        self, logits: torch.Tensor, token_ids: npt.NDArray[np.int64], num_top: npt.NDArray[np.int64]
    ) -> SampledRows:
        """Describes tokens that are there already, those of a prompt.

        Args:
            logits: float32 [R, V]; overwritten.
            token_ids: The tokens [R].
            num_top: How many of the most probable tokens each row lists [R].
        """
        request = LogprobRequest(token_ids, num_top, {})
        described, largest = self._backend.describe(logits, request)
        errors = {
            row: _no_numbers(float(largest[row]), "the prompt") for row, item in enumerate(described) if item is None
        }
        logprobs = {row: item for row, item in enumerate(described) if item is not None}
        return SampledRows(token_ids.tolist(), logprobs, errors)


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


def _find_errors(largest: npt.NDArray[np.float32], metadata: SamplingMetadata) -> dict[int, str]:
    values = largest.tolist()
    if all(map(math.isfinite, values)):
        return {}
    return {
        row: _explain(value, int(metadata.output_positions[row]))
        for row, value in enumerate(values)
        if not math.isfinite(value)
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
