"""A batch of one token a request, brought from a step to the next where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vllm_local.step_io import CachedRequestData
    from vllm_local.worker.batch_layout import IntArray
    from vllm_local.worker.step_buffer import StepBuffers
    from vllm_local.worker.step_inputs import StepInputs


class DecodeBatch:
    """The inputs of a step in which each of R requests decodes one token, and how they become the next step's.

    Nearly every step follows such a one and has the same requests. To make its arrays anew takes some twenty operations
    of numpy's, and after a pass over all weights each of them waits for memory; here numbers are written one by one.
    """

    __slots__ = (
        "_block_size",
        "_block_table",
        "_buffers",
        "_inputs",
        "_max_seq_len",
        "_output_positions",
        "_positions",
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
        rows: IntArray,
        block_table: npt.NDArray[np.int32],
        block_size: int,
    ) -> None:
        """Takes over the inputs of a step of one token a request, all of them sampled.

        Args:
            inputs: The inputs, which lie in the buffers.
            buffers: The buffers.
            rows: The requests' rows of the block table [R].
            block_table: Every row's blocks [rows, blocks], kept up to date by its owner.
            block_size: Tokens of a block.
        """
        self._inputs = inputs
        self._buffers = buffers
        self._rows = rows.tolist()
        self._block_table = block_table
        self._block_size = block_size
        self._max_seq_len = inputs.attention.block_tables.shape[1] * block_size
        self._token_ids = buffers.token_ids.array.data
        self._positions = buffers.positions.array.data
        self._slots = buffers.slots.array.data
        self._seq_lens = buffers.seq_lens.array.data
        self._output_positions = inputs.sampling.output_positions.data
        self._shown_block_tables = buffers.block_tables.array[:, : inputs.attention.block_tables.shape[1]]

    def leads_to(self, scheduled: Sequence[str], known: Sequence[CachedRequestData]) -> bool:
        """Whether the next step is of the same kind and needs no longer block tables.

        Args:
            scheduled: The requests of the next step, in the order of the batch.
            known: What changed for them.
        """
        request_ids, seq_lens = self._inputs.request_ids, self._inputs.attention.host_seq_lens
        if scheduled != request_ids or len(known) != len(request_ids) or max(seq_lens) >= self._max_seq_len:
            return False
        for item, request_id, seq_len in zip(known, request_ids, seq_lens, strict=True):
            if item.request_id != request_id or item.num_computed_tokens != seq_len or len(item.new_token_ids) != 1:
                return False
        return True

    def advance(self, known: Sequence[CachedRequestData]) -> StepInputs:
        """Returns the next step's inputs: the same objects, with the next numbers in them.

        Args:
            known: What changed for the requests, as `leads_to` has seen it.
        """
        block_size, seq_lens = self._block_size, self._inputs.attention.host_seq_lens
        for index, item in enumerate(known):
            position = seq_lens[index]
            self._token_ids[index] = item.new_token_ids[0]
            self._positions[index] = position
            self._seq_lens[index] = seq_lens[index] = position + 1
            self._output_positions[index] += 1
            if position % block_size:
                self._slots[index] += 1
            else:
                block_id = int(self._block_table[self._rows[index], position // block_size])
                self._shown_block_tables[index, position // block_size] = block_id
                self._slots[index] = block_id * block_size
        self._buffers.send()
        return self._inputs
