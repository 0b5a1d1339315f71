"""Which number format a device trains in."""

from __future__ import annotations

import time

import torch

_ROWS, _INPUTS, _OUTPUTS = 1024, 256, 1408
_ROUNDS = 5


def fastest_dtype(device: str) -> torch.dtype:
    """Return bf16 on a GPU, and on a processor what it multiplies faster, bf16 or fp32.

    Processors that list bf16 products may take longer for them than for those of fp32, so it is measured.
    """
    if device != "cpu":
        return torch.bfloat16
    return min((torch.bfloat16, torch.float32), key=_seconds_of_product)


def _seconds_of_product(dtype: torch.dtype) -> float:
    rows, weight = torch.ones(_ROWS, _INPUTS, dtype=dtype), torch.ones(_OUTPUTS, _INPUTS, dtype=dtype)
    seconds = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        torch.nn.functional.linear(rows, weight)
        seconds.append(time.perf_counter() - started)
    return min(seconds)
