"""The requests that the runner knows, as rows of preallocated arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from vllm_local.kernels.interface import AttentionMetadata
from vllm_local.sampling.sampling_metadata import SamplingMetadata
from vllm_local.step_io import CachedRequestData
from vllm_local.worker.batch_layout import BatchLayout, IntArray
from vllm_local.worker.decode_batch import DecodeBatch
from vllm_local.worker.prompt_rows import PromptRows
from vllm_local.worker.request_rows import RequestRows
from vllm_local.worker.step_buffer import StepBuffers
from vllm_local.worker.step_inputs import StepInputs

if TYPE_CHECKING:
    from vllm_local.config import ResolvedConfig
    from vllm_local.step_io import NewRequestData, SchedulerOutput

_SPARE_BLOCKS = 8
"""Columns of the block tables behind those in use, so that steps of decoding need no longer tables for a while."""


class InputBatch:
    """Keeps a row for every known request, and makes a step's arrays from the rows, mostly in a few numpy operations.

    A request keeps its row from its first step until it is finished or preempted; rows are not moved. What a step
    costs in Python is one short loop over its requests; nothing is done with tensors request by request.
    """

    def __init__(self, config: ResolvedConfig, device: torch.device) -> None:
        """Allocates rows for `max_num_seqs` requests and buffers for `max_num_batched_tokens` tokens.

        Args:
            config: The engine's sizes; one KV group.
            device: Where the model runs.
        """
        num_rows, num_tokens = config.max_num_seqs, config.max_num_batched_tokens
        self._block_size = config.kv_cache.block_size
        self._vocab_size = config.model.vocab_size
        self._device = device
        max_blocks = -(-config.max_model_len // self._block_size)
        self._rows = RequestRows(num_rows, config.max_model_len, max_blocks)
        # First position whose following token is to be described, by the requests whose prompts are not done yet.
        self._prompt_logprobs_starts: dict[str, int] = {}
        self._layout: BatchLayout | None = None
        # Blocks of each request that the buffer has; none of them once it is of other requests.
        self._num_shown_blocks = -1
        self._sampling: SamplingMetadata | None = None
        self._sampled_rows: list[int] = []
        self._buffers = StepBuffers.allocate(num_tokens, num_rows, max_blocks, device)
        # The last step, if it is one that nearly all others follow from, and what has changed since.
        self._decode: DecodeBatch | None = None
        self._changes = CachedRequestData()

    @property
    def request_ids(self) -> tuple[str, ...]:
        """The requests that have a row."""
        return tuple(self._rows.indices)

    def update(self, scheduled: SchedulerOutput) -> None:
        """Drops the rows of finished and preempted requests, and adds new ones; `prepare` extends the others."""
        for request_id in (*scheduled.finished_request_ids, *scheduled.preempted_request_ids):
            self._remove(request_id)
        for new in scheduled.scheduled_new_requests:
            self._add(new)
        self._changes = scheduled.scheduled_cached_requests

    def prepare(self, num_scheduled_tokens: dict[str, int]) -> StepInputs:
        """Brings the rows of the step that `update` was told of up to date, and makes its arrays.

        They are views of buffers that the next call overwrites.

        Args:
            num_scheduled_tokens: Tokens to compute, at least one, by request id, in the order of the batch.
        """
        decode = self._decode
        if decode is not None and decode.leads_to(list(num_scheduled_tokens), self._changes):
            return decode.advance(self._changes)
        for cached in self._changes:
            self._rows.extend(cached)
        self._decode = None
        request_ids = list(num_scheduled_tokens)
        rows = [self._rows.indices[request_id] for request_id in request_ids]
        if self._prompt_logprobs_starts or not self._decodes_each(rows, num_scheduled_tokens):
            return self._lay_out_anew(num_scheduled_tokens)
        inputs = self._lay_out_single_tokens(request_ids, rows)
        self._decode = DecodeBatch(inputs, self._buffers, self._rows, rows, self._block_size)
        return inputs

    def _decodes_each(self, rows: list[int], num_scheduled_tokens: dict[str, int]) -> bool:
        """Whether the step has one token of each row, its last known one."""
        known = self._rows
        is_last = (known.num_tokens[row] == known.num_computed[row] + 1 for row in rows)
        return max(num_scheduled_tokens.values()) == 1 and all(is_last)

    def _lay_out_single_tokens(self, request_ids: list[str], rows: list[int]) -> StepInputs:
        """Returns the inputs of one token a request, all of them sampled.

        Numbers are written one by one, for the reason that `DecodeBatch` gives: where many requests come and go, the
        batch is often another one than before.
        """
        known, buffers, block_size = self._rows, self._buffers, self._block_size
        token_ids, positions, slots = (
            buffers.token_ids.array.data,
            buffers.positions.array.data,
            buffers.slots.array.data,
        )
        query_starts, seq_lens = buffers.query_starts.array.data, buffers.seq_lens.array.data
        logits_indices = buffers.logits_indices.array.data
        host_seq_lens = [known.num_computed[row] + 1 for row in rows]
        for index, row in enumerate(rows):
            position = host_seq_lens[index] - 1
            token_ids[index] = known.token_memory[row, position]
            positions[index] = position
            slots[index] = int(known.block_table[row, position // block_size]) * block_size + position % block_size
            seq_lens[index] = position + 1
            query_starts[index + 1] = index + 1
            logits_indices[index] = index
        # The buffers no longer have what `_layout_of` wrote.
        self._layout, self._num_shown_blocks = None, -1
        return StepInputs(
            request_ids=request_ids,
            token_ids=buffers.token_ids.publish(len(rows)),
            attention=self._attention_of(rows, [1] * len(rows), host_seq_lens, len(rows)),
            sampled_request_ids=request_ids,
            logits_indices=buffers.logits_indices.publish(len(rows)),
            sampling=self._prepare_sampling(rows),
            samples_all=True,
        )

    def _lay_out_anew(self, num_scheduled_tokens: dict[str, int]) -> StepInputs:
        """Returns the inputs of any numbers of tokens."""
        layout = self._layout_of(num_scheduled_tokens)
        rows = layout.rows
        seq_lens = _numbers_of(rows, self._rows.num_computed) + layout.query_lens
        num_missing = (_numbers_of(rows, self._rows.num_tokens) - seq_lens).tolist()
        assert min(num_missing) >= 0, "more tokens are scheduled than are known"
        sampled_ids = layout.request_ids
        if any(num_missing):
            sampled = np.array([index for index, number in enumerate(num_missing) if number == 0], dtype=np.int64)
            sampled_ids, rows = [layout.request_ids[index] for index in sampled.tolist()], rows[sampled]
            self._buffers.logits_indices.array[: len(sampled)] = layout.query_ends[sampled] - 1
            self._layout = None  # the buffer no longer has what `_layout_of` wrote
        token_ids, attention = self._lay_out(layout, seq_lens)
        return StepInputs(
            request_ids=layout.request_ids,
            token_ids=token_ids,
            attention=attention,
            sampled_request_ids=sampled_ids,
            logits_indices=self._buffers.logits_indices.publish(len(rows)),
            sampling=self._prepare_sampling(rows.tolist()),
            samples_all=len(token_ids) == len(rows),
            prompt_rows=self._prepare_prompt_rows(layout, seq_lens),
        )

    def _layout_of(self, num_scheduled_tokens: dict[str, int]) -> BatchLayout:
        """Returns the last step's layout where it is this step's too."""
        layout, request_ids, query_lens = self._layout, list(num_scheduled_tokens), list(num_scheduled_tokens.values())
        if layout is None or layout.request_ids != request_ids or layout.host_query_lens != query_lens:
            rows = np.array([self._rows.indices[request_id] for request_id in request_ids], dtype=np.int64)
            layout = self._layout = BatchLayout.build(request_ids, rows, query_lens)
            self._buffers.query_starts.array[1 : len(layout.rows) + 1] = layout.query_ends
            self._buffers.logits_indices.array[: len(layout.rows)] = layout.query_ends - 1
            self._num_shown_blocks = -1
        return layout

    def _add(self, new: NewRequestData) -> None:
        self._remove(new.request_id)
        self._rows.add(new)
        if new.prompt_logprobs_start is not None:
            self._prompt_logprobs_starts[new.request_id] = new.prompt_logprobs_start
        self._layout = self._sampling = self._decode = None

    def _remove(self, request_id: str) -> None:
        if self._rows.remove(request_id):
            self._prompt_logprobs_starts.pop(request_id, None)
            self._layout = self._sampling = self._decode = None

    def _lay_out(self, layout: BatchLayout, seq_lens: IntArray) -> tuple[torch.Tensor, AttentionMetadata]:
        """Fills the buffers for T tokens of R requests; returns the token ids [T] and where they stand."""
        num_requests, num_tokens, host_seq_lens = len(seq_lens), len(layout.token_rows), seq_lens.tolist()
        positions = seq_lens[layout.token_requests] + layout.token_offsets
        blocks, offsets = np.divmod(positions, self._block_size)
        self._buffers.token_ids.array[:num_tokens] = self._rows.token_ids[layout.token_rows, positions]
        self._buffers.positions.array[:num_tokens] = positions
        slots = self._rows.block_table[layout.token_rows, blocks] * self._block_size + offsets
        self._buffers.slots.array[:num_tokens] = slots
        self._buffers.seq_lens.array[:num_requests] = seq_lens
        attention = self._attention_of(layout.rows.tolist(), layout.host_query_lens, host_seq_lens, num_tokens)
        return self._buffers.token_ids.publish(num_tokens), attention

    def _attention_of(
        self, rows: list[int], query_lens: list[int], host_seq_lens: list[int], num_tokens: int
    ) -> AttentionMetadata:
        """Returns where the tokens stand that the buffers have."""
        return AttentionMetadata(
            positions=self._buffers.positions.publish(num_tokens),
            slot_mapping=self._buffers.slots.publish(num_tokens),
            query_start_loc=self._buffers.query_starts.publish(len(rows) + 1),
            seq_lens=self._buffers.seq_lens.publish(len(rows)),
            block_tables=self._show_blocks(rows, max(host_seq_lens)),
            query_lens=query_lens,
            host_seq_lens=host_seq_lens,
        )

    def _show_blocks(self, rows: list[int], max_seq_len: int) -> torch.Tensor:
        """Returns the block tables [R, blocks]; copies them unless the buffer has them from the last step."""
        num_blocks = min(-(-max_seq_len // self._block_size) + _SPARE_BLOCKS, self._rows.block_table.shape[1])
        if num_blocks != self._num_shown_blocks or self._rows.has_new_blocks:
            self._buffers.block_tables.array[: len(rows), :num_blocks] = self._rows.block_table[rows, :num_blocks]
            self._num_shown_blocks, self._rows.has_new_blocks = num_blocks, False
        return self._buffers.block_tables.publish(len(rows), num_blocks)

    def _prepare_prompt_rows(self, layout: BatchLayout, seq_lens: IntArray) -> PromptRows | None:
        if not self._prompt_logprobs_starts:
            return None
        parts = []
        for index, request_id in enumerate(layout.request_ids):
            if request_id in self._prompt_logprobs_starts:
                end = int(seq_lens[index])
                # What a position's index in the batch is more than the position.
                offset = int(layout.query_ends[index]) - end
                parts.append(self._prompt_rows_of(request_id, end - layout.host_query_lens[index], end, offset))
        return PromptRows.join(parts) if parts else None

    def _prompt_rows_of(self, request_id: str, start: int, end: int, offset: int) -> PromptRows:
        """Returns those among the positions [start, end) of a request; forgets it once its prompt is done."""
        row = self._rows.indices[request_id]
        state = self._rows.state(row)
        last = self._rows.num_prompt[row] - 1
        first, stop = max(start, self._prompt_logprobs_starts[request_id]), min(end, last)
        if stop == last:
            del self._prompt_logprobs_starts[request_id]
        positions = np.arange(first, stop)
        return PromptRows(
            request_ids=[request_id] * len(positions),
            indices=positions + offset,
            token_ids=self._rows.token_ids[row, positions + 1].astype(np.int64),
            num_top_logprobs=np.full(len(positions), state.params.prompt_logprobs, dtype=np.int64),
        )

    def _prepare_sampling(self, rows: list[int]) -> SamplingMetadata:
        """Returns the metadata of the sampled rows [S]; what the last step's built, while the same ones are sampled."""
        sampling = self._sampling
        if sampling is None or rows != self._sampled_rows:
            states = [self._rows.state(row) for row in rows]
            sampling = SamplingMetadata.build(states, self._vocab_size, self._device)
            self._sampling, self._sampled_rows = sampling, rows
        positions = sampling.output_positions.data
        for index, row in enumerate(rows):
            positions[index] = self._rows.num_tokens[row] - self._rows.num_prompt[row]
        return sampling


def _numbers_of(rows: IntArray, numbers: Sequence[int]) -> IntArray:
    return np.array([numbers[row] for row in rows.tolist()], dtype=np.int64)
