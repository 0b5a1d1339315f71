"""Cosines and sines of rotary embeddings, for as many positions as were ever needed."""

from __future__ import annotations

import ctypes

import torch

_FIRST_POSITIONS = 1024


class RotationStructure(ctypes.Structure):
    """`RotationTable` of native/api.h."""

    _fields_ = (("rows", ctypes.c_void_p),)


class RotationTable:
    """One rotary embedding's table, shared by all layers that rotate alike.

    Attributes:
        address: Where the library finds it; stays the same as the table grows.
    """

    __slots__ = ("_frequencies", "_num_positions", "_rows", "_scale", "_structure", "address")

    def __init__(self, frequencies: tuple[float, ...], scale: float) -> None:
        """Makes a table for the first positions.

        Args:
            frequencies: Radians a position, of each pair of a head's numbers.
            scale: What cosines and sines are multiplied by.
        """
        self._frequencies = torch.tensor(frequencies, dtype=torch.float32)
        self._scale = scale
        self._rows = torch.empty(0, 2 * len(frequencies))
        self._num_positions = 0
        self._structure = RotationStructure()
        self.address = ctypes.addressof(self._structure)
        self.reserve(_FIRST_POSITIONS)

    def reserve(self, num_positions: int) -> None:
        """Makes sure that the first positions are there."""
        present = self._num_positions
        if num_positions <= present:
            return
        positions = torch.arange(present, max(num_positions, 2 * present), dtype=torch.float32)
        # Angles are rounded to float32 as they are in training; what follows is exact up to the last bit.
        angles = (positions[:, None] * self._frequencies).double()
        added = torch.cat((angles.cos(), angles.sin()), dim=1) * self._scale
        self._rows = torch.cat((self._rows, added.float()))
        self._num_positions = len(self._rows)
        self._structure.rows = self._rows.data_ptr()
