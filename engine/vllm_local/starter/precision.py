"""Which number format a device trains in."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch

_ROWS, _INPUTS, _OUTPUTS = 1024, 256, 1408
_ROUNDS = 20


def fastest_dtype(device: str) -> torch.dtype:
    """Return bf16 on a GPU, and on a processor what it multiplies faster, bf16 or fp32.

    Processors that list bf16 products may take longer for them than for those of fp32, so it is measured.
    """
    if device != "cpu":
        return torch.bfloat16
    seconds = _seconds_of_products((torch.bfloat16, torch.float32))
    return min(seconds, key=lambda dtype: seconds[dtype])


def _seconds_of_products(dtypes: Sequence[torch.dtype]) -> dict[torch.dtype, float]:
    """Return the seconds of each type's fastest product; they take turns, so that other programs delay all alike."""
    operands = {
        dtype: (torch.ones(_ROWS, _INPUTS, dtype=dtype), torch.ones(_OUTPUTS, _INPUTS, dtype=dtype)) for dtype in dtypes
    }
    seconds = dict.fromkeys(dtypes, math.inf)
    for _ in range(_ROUNDS):
        for dtype, (rows, weight) in operands.items():
            started = time.perf_counter()
            torch.nn.functional.linear(rows, weight)
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - started)
    return seconds
