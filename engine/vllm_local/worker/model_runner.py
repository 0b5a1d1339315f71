"""Executes steps: the model's forward pass, then the sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch

from vllm_local.models.inference import without_gradients
from vllm_local.step_io import ModelRunnerOutput
from vllm_local.worker.input_batch import InputBatch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from vllm_local.config import KVCacheConfig, ResolvedConfig
    from vllm_local.kernels.interface import AttentionMetadata, KVCache
    from vllm_local.sampling.sampler import SampledRows, Sampler
    from vllm_local.step_io import SchedulerOutput
    from vllm_local.worker.prompt_rows import PromptRows
    from vllm_local.worker.step_inputs import StepInputs


class CacheKernels(Protocol):
    """What the runner needs of a model's kernels."""

    @property
    def device(self) -> torch.device:
        """Where tensors have to be."""

    def allocate_kv_cache(self, config: KVCacheConfig) -> list[KVCache]:
        """Returns one cache a layer."""


class LanguageModel(Protocol):
    """What the runner needs of a model; `models.decoder.Decoder` is one."""

    @property
    def kernels(self) -> CacheKernels:
        """What it computes with."""

    def forward(
        self,
        inputs: torch.Tensor,
        metadata: AttentionMetadata,
        kv_caches: Sequence[Any],
        logits: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Computes token ids [T] at their places, writes their K and V, and returns hidden states [T, H].

        The logits of all T are in `logits`, what an earlier call of `compute_logits` returned or some of its rows, if
        there is one.
        """

    def compute_logits(self, hidden: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the logits of hidden states [R, H] as float32 [R, V], in memory that the caller may overwrite.

        They are in `out`, what an earlier call returned or some of its rows, if there is one.
        """


class ModelRunner:
    """Keeps the KV cache and the rows of the requests, and computes one step at a time."""

    def __init__(self, config: ResolvedConfig, model: LanguageModel, sampler: Sampler) -> None:
        """Allocates the KV cache.

        Args:
            config: The engine's sizes.
            model: The model, loaded.
            sampler: What takes its logits to tokens.
        """
        self._model = model
        self._sampler = sampler
        self._kv_caches = model.kernels.allocate_kv_cache(config.kv_cache)
        self._batch = InputBatch(config, model.kernels.device)
        # The system takes large memory back at once, and to get it anew takes longer than to fill it.
        self._logits = torch.empty(0)
        # The rows of it that the last step used: to take them anew costs as much as the rest of a call.
        self._room, self._num_rows = self._logits, 0

    @property
    def known_request_ids(self) -> tuple[str, ...]:
        """The requests that have a row."""
        return self._batch.request_ids

    def session(self) -> AbstractContextManager[object]:
        """Returns torch's inference mode, which takes longer to enter than a step's inputs to prepare."""
        return torch.inference_mode()

    @without_gradients
    def execute(self, scheduled: SchedulerOutput) -> ModelRunnerOutput:
        """Computes one step.

        Args:
            scheduled: The scheduler's decision. Requests that it drops are dropped even if nothing is to be computed.

        Returns:
            The sampled tokens, of requests whose last known token was computed, and log-probabilities of prompts.
        """
        self._batch.update(scheduled)
        if not scheduled.num_scheduled_tokens:
            return ModelRunnerOutput()
        inputs = self._batch.prepare(scheduled.num_scheduled_tokens)
        num_sampled = len(inputs.sampled_request_ids)
        logits = self._room_for_logits(num_sampled) if inputs.samples_all else None
        hidden = self._model.forward(inputs.token_ids, inputs.attention, self._kv_caches, logits)
        output = ModelRunnerOutput()
        if inputs.sampled_request_ids:
            if logits is None:
                logits = self._compute_logits(hidden, inputs)
            bitmask = None if scheduled.grammar_bitmask is None else scheduled.grammar_bitmask.result()
            sampled = self._sampler.sample(logits, inputs.sampling, bitmask)
            _hand_over(sampled, inputs.sampled_request_ids, output)
        if num_sampled < len(inputs.request_ids):
            for request_id in inputs.request_ids:
                output.sampled_token_ids.setdefault(request_id, [])
        if inputs.prompt_rows is not None:
            self._describe_prompts(hidden, inputs.prompt_rows, output)
        return output

    def _describe_prompts(self, hidden: torch.Tensor, rows: PromptRows, output: ModelRunnerOutput) -> None:
        """Describes the tokens that follow the rows, a few rows at a time."""
        for part in rows.slices():
            logits = self._model.compute_logits(hidden[torch.from_numpy(part.indices).to(hidden.device)])
            described = self._sampler.describe(logits, part.token_ids, part.num_top_logprobs)
            for row, logprobs in described.logprobs.items():
                output.prompt_logprobs.setdefault(part.request_ids[row], []).append(logprobs)
            for row, message in described.errors.items():
                output.errors.setdefault(part.request_ids[row], message)

    def _room_for_logits(self, num_rows: int) -> torch.Tensor | None:
        """Returns memory for so many rows of logits, that of the last step's; None where they do not fit."""
        # Counted here: a tensor takes longer to say how long it is than the rest of this.
        if num_rows != self._num_rows:
            if num_rows > len(self._logits):
                return None
            self._room, self._num_rows = self._logits[:num_rows], num_rows
        return self._room

    def _compute_logits(self, hidden: torch.Tensor, inputs: StepInputs) -> torch.Tensor:
        """Returns the logits of a step's sampled tokens, in the memory of the last step's where they fit."""
        num_rows = len(inputs.sampled_request_ids)
        # In a step of single tokens every row is sampled, and nothing needs to be gathered.
        rows = hidden if inputs.samples_all else hidden[inputs.logits_indices]
        room = self._room_for_logits(num_rows)
        logits = self._model.compute_logits(rows, room)
        if room is None:
            self._logits, self._room, self._num_rows = logits, logits, num_rows
        return logits


def _hand_over(sampled: SampledRows, request_ids: list[str], output: ModelRunnerOutput) -> None:
    output.sampled_token_ids = {
        request_id: [token_id] for request_id, token_id in zip(request_ids, sampled.token_ids, strict=True)
    }
    if sampled.logprobs:
        output.logprobs = {request_ids[row]: [logprobs] for row, logprobs in sampled.logprobs.items()}
    if sampled.errors:
        output.errors = {request_ids[row]: message for row, message in sampled.errors.items()}
