"""What the runner keeps of every request that it knows: a row of tokens, blocks and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vllm_local.sampling.sampling_metadata import SamplingState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_local.step_io import CachedRequest, NewRequestData


class RequestRows:
    """Rows of preallocated arrays. A request keeps its row from its first step until it is finished or preempted.

    Attributes:
        indices: Each known request's row.
        states: How each row's request samples [rows]; None where there is none.
        token_ids: Prompts and answers, [rows, max_model_len] int32.
        token_memory: The same memory; one number is written to it in a third of the time.
        block_table: Each row's blocks [rows, blocks] int32.
        num_tokens: Known tokens of each row; a list, like the next ones, since every step changes a number of each row.
        num_computed: Tokens whose K and V are in the cache before the step.
        num_prompt: Tokens of the prompt.
        has_new_blocks: Whether blocks were appended since somebody has last set this to False.
    """

    __slots__ = (
        "_free",
        "_num_blocks",
        "block_table",
        "has_new_blocks",
        "indices",
        "num_computed",
        "num_prompt",
        "num_tokens",
        "states",
        "token_ids",
        "token_memory",
    )

    def __init__(self, num_rows: int, max_model_len: int, num_blocks: int) -> None:
        """Allocates them.

        Args:
            num_rows: Most requests that are known at once.
            max_model_len: Most tokens of a request.
            num_blocks: Most blocks of a request.
        """
        self.indices: dict[str, int] = {}
        self.states: list[SamplingState | None] = [None] * num_rows
        # calloc'ed, so that memory is taken only where tokens are written.
        self.token_ids = np.zeros((num_rows, max_model_len), dtype=np.int32)
        self.token_memory = self.token_ids.data
        self.block_table = np.zeros((num_rows, num_blocks), dtype=np.int32)
        self.num_tokens, self.num_computed, self.num_prompt = [0] * num_rows, [0] * num_rows, [0] * num_rows
        self.has_new_blocks = False
        self._num_blocks = [0] * num_rows
        self._free = list(range(num_rows - 1, -1, -1))

    def state(self, row: int) -> SamplingState:
        """Returns how a row's request samples."""
        state = self.states[row]
        assert state is not None, f"row {row} has no request"
        return state

    def add(self, new: NewRequestData) -> None:
        """Gives a request that has none a row."""
        row = self._free.pop()
        self.indices[new.request_id] = row
        self.states[row] = SamplingState(new)
        self.token_ids[row, : len(new.token_ids)] = new.token_ids
        self.num_tokens[row] = len(new.token_ids)
        self.num_prompt[row] = new.num_prompt_tokens
        self.num_computed[row] = new.num_computed_tokens
        self._num_blocks[row] = 0
        self.append_blocks(row, *new.block_ids)

    def extend(self, cached: CachedRequest) -> None:
        """Takes note of what changed for a request."""
        request_id, new_token_ids, new_block_ids, num_computed_tokens = cached
        row = self.indices[request_id]
        self.num_computed[row] = num_computed_tokens
        if new_token_ids:
            end = self.num_tokens[row]
            # One by one, and not by numpy, which takes longer to look at a list than there are tokens in it.
            for token_id in new_token_ids:
                self.token_memory[row, end] = token_id
                end += 1
            self.num_tokens[row] = end
            state = self.state(row)
            if state.follows_answer:
                state.append(new_token_ids)
        self.append_blocks(row, *new_block_ids)

    def append_blocks(self, row: int, block_ids: Sequence[int]) -> None:
        """Appends to a row's blocks, those of the one KV group that there is."""
        if block_ids:
            start = self._num_blocks[row]
            end = self._num_blocks[row] = start + len(block_ids)
            self.block_table[row, start:end] = block_ids
            self.has_new_blocks = True

    def remove(self, request_id: str) -> bool:
        """Frees a request's row; False if it has none."""
        row = self.indices.pop(request_id, None)
        if row is None:
            return False
        self.states[row] = None
        self._free.append(row)
        return True
