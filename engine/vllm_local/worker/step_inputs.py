"""What the model and the sampler are given in a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from vllm_local.kernels.interface import AttentionMetadata
    from vllm_local.sampling.sampling_metadata import SamplingMetadata
    from vllm_local.worker.prompt_rows import PromptRows


@dataclass(slots=True)
class StepInputs:
    """One step's ragged batch: T tokens of R requests, S of which are sampled.

    Attributes:
        request_ids: The requests, in the order of the batch [R].
        token_ids: Their tokens [T] int64.
        attention: Where the tokens stand.
        sampled_request_ids: Requests whose last known token is in the step, so that a new one follows [S].
        logits_indices: Index of that token among the T [S] int64, on the device.
        sampling: How those requests are sampled.
        samples_all: Whether every token is sampled, so that S is T.
        prompt_rows: Positions whose following token is described, if there are any.
    """

    request_ids: list[str]
    token_ids: torch.Tensor
    attention: AttentionMetadata
    sampled_request_ids: list[str]
    logits_indices: torch.Tensor
    sampling: SamplingMetadata
    samples_all: bool
    prompt_rows: PromptRows | None = None
