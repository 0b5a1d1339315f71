"""A batch of one token a request, brought from a step to the next where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm_local.step_io import CachedRequestData
    from vllm_local.worker.request_rows import RequestRows
    from vllm_local.worker.step_buffer import StepBuffers
    from vllm_local.worker.step_inputs import StepInputs


class DecodeBatch:
    """The inputs of a step in which each of R requests decodes one token, and how they become the next step's.

    Nearly every step follows such a one and has the same requests. To make its arrays anew takes some twenty operations
    of numpy's, and after a pass over all weights each of them waits for memory; here numbers are written one by one.
    """

    __slots__ = (
        "_block_size",
        "_buffers",
        "_followers",
        "_inputs",
        "_max_seq_len",
        "_ones",
        "_output_positions",
        "_positions",
        "_row_indices",
        "_rows",
        "_seq_lens",
        "_shown_block_tables",
        "_slots",
        "_token_ids",
    )

    def __init__(
        self,
        inputs: StepInputs,
        buffers: StepBuffers,
        rows: RequestRows,
        row_indices: Sequence[int],
        block_size: int,
    ) -> None:
        """Takes over the inputs of a step of one token a request, all of them sampled.

        Args:
            inputs: The inputs, which lie in the buffers.
            buffers: The buffers.
            rows: What is kept of every request.
            row_indices: The requests' rows [R].
            block_size: Tokens of a block.
        """
        self._inputs = inputs
        self._buffers = buffers
        self._rows = rows
        self._row_indices = row_indices
        self._followers = [index for index, row in enumerate(row_indices) if rows.state(row).follows_answer]
        self._ones = [1] * len(row_indices)
        self._block_size = block_size
        self._max_seq_len = inputs.attention.block_tables.shape[1] * block_size
        self._token_ids = buffers.token_ids.array.data
        self._positions = buffers.positions.array.data
        self._slots = buffers.slots.array.data
        self._seq_lens = buffers.seq_lens.array.data
        self._output_positions = inputs.sampling.output_positions.data
        self._shown_block_tables = buffers.block_tables.array[:, : inputs.attention.block_tables.shape[1]]

    def leads_to(self, scheduled: Sequence[str], known: CachedRequestData) -> bool:
        """Whether the next step is of the same kind and needs no longer block tables.

        Args:
            scheduled: The requests of the next step, in the order of the batch.
            known: What changed for them.
        """
        request_ids, seq_lens = self._inputs.request_ids, self._inputs.attention.host_seq_lens
        return (
            scheduled == request_ids
            and known.request_ids == request_ids
            and known.num_computed_tokens == seq_lens
            and list(map(len, known.new_token_ids)) == self._ones
            and max(seq_lens) < self._max_seq_len
        )

    def advance(self, known: CachedRequestData) -> StepInputs:
        """Brings the rows up to date, and returns the next step's inputs: the same objects, with its numbers in them.

        Args:
            known: What changed for the requests, as `leads_to` has seen it.
        """
        rows, block_size, seq_lens = self._rows, self._block_size, self._inputs.attention.host_seq_lens
        for index, row in enumerate(self._row_indices):
            position = seq_lens[index]
            self._token_ids[index] = rows.token_memory[row, position] = known.new_token_ids[index][0]
            self._positions[index] = rows.num_computed[row] = position
            self._seq_lens[index] = seq_lens[index] = rows.num_tokens[row] = position + 1
            self._output_positions[index] += 1
            (added,) = known.new_block_ids[index]
            if added:
                rows.append_blocks(row, added)
            if position % block_size:
                self._slots[index] += 1
            else:
                block_id = int(rows.block_table[row, position // block_size])
                self._shown_block_tables[index, position // block_size] = block_id
                self._slots[index] = block_id * block_size
        for index in self._followers:
            rows.state(self._row_indices[index]).append(known.new_token_ids[index])
        self._buffers.send()
        return self._inputs
