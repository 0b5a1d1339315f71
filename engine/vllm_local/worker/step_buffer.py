"""Integers that travel to the device each step, at an address that stays."""

from __future__ import annotations

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
            self._lengths, self._views = lengths, (self._host_side[part], self._device_side[part])
        host_view, device_view = self._views
        if self._device_side is not self._host_side:
            # Waits for the copy: the next step writes to the host side again, and not every step waits for a result.
            device_view.copy_(host_view)
        return device_view
