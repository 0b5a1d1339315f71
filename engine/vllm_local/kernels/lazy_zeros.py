"""Memory full of zeros that is taken only where it is written."""

from __future__ import annotations

import contextlib
import math
import mmap
import sys

import torch


def lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Returns a tensor of zeros on the CPU; the system hands its memory out page by page, as it is written."""
    memory = _reserve(math.prod(shape) * dtype.itemsize)
    return torch.frombuffer(memory, dtype=dtype).view(shape)


def _reserve(num_bytes: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, num_bytes)
    memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        # The first token is written to a few pages of every layer; huge ones (numpy asks for them) would take them all.
        with contextlib.suppress(OSError):  # from a kernel without huge pages
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory
