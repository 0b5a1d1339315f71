"""Integers that travel to the device each step, at an address that stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch


class StepBuffer:
    """A host array and its copy on the device. On the CPU both are the same memory.

    Attributes:
        array: The host side, to be filled before `publish`.
    """

    __slots__ = ("_device_side", "_host_side", "_lengths", "_views", "array")

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        """Allocates both sides, filled with zeros.

        Args:
            shape: The largest size that any step needs.
            dtype: An integer format.
            device: Where the model runs.
        """
        self._host_side = torch.zeros(shape, dtype=dtype)
        is_host = device.type == "cpu"
        self._device_side = self._host_side if is_host else torch.zeros(shape, dtype=dtype, device=device)
        self.array: npt.NDArray[Any] = self._host_side.numpy()
        # Steps of one token a request have the same lengths again and again; slicing costs more than the rest.
        self._lengths: tuple[int, ...] = shape
        self._views = (self._host_side, self._device_side)

    def publish(self, *lengths: int) -> torch.Tensor:
        """Returns the leading part of the given lengths, one a dimension, as the device sees it."""
        if lengths != self._lengths:
            part = tuple(slice(length) for length in lengths)
            host_view = self._host_side[part]
            device_view = host_view if self.is_on_device else self._device_side[part]
            self._lengths, self._views = lengths, (host_view, device_view)
        self.send()
        return self._views[1]

    @property
    def is_on_device(self) -> bool:
        """Whether both sides are the same memory, so that there is nothing to send."""
        return self._device_side is self._host_side

    def send(self) -> None:
        """Brings what was written since to the device: the part that was published last."""
        host_view, device_view = self._views
        if not self.is_on_device:
            # Waits for the copy: the next step writes to the host side again, and not every step waits for a result.
            device_view.copy_(host_view)


@dataclass(frozen=True, slots=True)
class StepBuffers:
    """The integers of a step: up to T tokens of R requests with B blocks each.

    Attributes:
        token_ids: [T] int64.
        positions: [T] int64, each token's position in its request.
        slots: [T] int64, where its K and V go.
        query_starts: [R + 1] int32, index of each request's first token, and of the end.
        seq_lens: [R] int32, tokens that have K and V after the step.
        block_tables: [R, B] int32.
        logits_indices: [R] int64, the tokens that are sampled.
    """

    token_ids: StepBuffer
    positions: StepBuffer
    slots: StepBuffer
    query_starts: StepBuffer
    seq_lens: StepBuffer
    block_tables: StepBuffer
    logits_indices: StepBuffer

    @classmethod
    def allocate(cls, num_tokens: int, num_requests: int, num_blocks: int, device: torch.device) -> StepBuffers:
        """Allocates them for the largest step."""
        return cls(
            token_ids=StepBuffer((num_tokens,), torch.int64, device),
            positions=StepBuffer((num_tokens,), torch.int64, device),
            slots=StepBuffer((num_tokens,), torch.int64, device),
            query_starts=StepBuffer((num_requests + 1,), torch.int32, device),
            seq_lens=StepBuffer((num_requests,), torch.int32, device),
            block_tables=StepBuffer((num_requests, num_blocks), torch.int32, device),
            logits_indices=StepBuffer((num_requests,), torch.int64, device),
        )

    def send(self) -> None:
        """Brings to the device what changes from a step of decoding to the next."""
        if self.token_ids.is_on_device:
            return
        for buffer in (self.token_ids, self.positions, self.slots, self.seq_lens, self.block_tables):
            buffer.send()
