"""What this machine can do at most: how fast it reads memory, and how many multiply-adds it does.

A shared machine has good and bad minutes, so each figure is measured anew beside what is compared with it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).parent / "ceilings.cpp"
LIBRARY = Path(__file__).parent / ".models" / "ceilings.so"

BUFFER_BYTES = 512 * 2**20
"""Read per pass: many times any last-level cache that two cores have."""
STREAMS = (1, 2, 4, 8)
"""Read side by side by a thread; which is fastest depends on the machine, and hardly matters."""
PASSES = 2
"""Over the buffer, of each."""
STEPS = 3_000_000
"""Of multiply-adds per pass: some 10 ms."""


@dataclass(frozen=True)
class Ceilings:
    """What the machine reached in the moment.

    Attributes:
        bytes_per_second: Read from memory.
        operations_per_second: On the weights' numbers; a multiply-add is two. Of bfloat16 where the machine multiplies
            them faster, else of float32.
    """

    bytes_per_second: float
    operations_per_second: float


def measure_ceilings(num_threads: int) -> Ceilings:
    """Takes the best of a few passes, some tenths of a second in all."""
    library = ceilings_library()
    memory = _buffer()
    reads = [
        library.read_rate(memory.ctypes.data, memory.nbytes, num_streams, num_threads)
        for num_streams in STREAMS
        for _ in range(PASSES)
    ]
    rate = library.bfloat16_rate if multiplies_bfloat16() else library.float_rate
    return Ceilings(max(reads), max(rate(STEPS, num_threads) for _ in range(3)))


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether this machine (and the compiler) has products of bfloat16, not slower ones than of float32.

    Counted on x86 only. Many short looks in turn, as other processes may be loading models meanwhile.
    """
    library = ceilings_library()
    looks = [(library.float_rate(STEPS // 20, 1), library.bfloat16_rate(STEPS // 20, 1)) for _ in range(40)]
    of_floats, of_bfloat16 = map(max, zip(*looks, strict=True))
    return bool(of_bfloat16 >= of_floats)


@functools.cache
def ceilings_library() -> ctypes.CDLL:
    """Compiles `ceilings.cpp` for this machine, and loads it."""
    if not LIBRARY.exists() or LIBRARY.stat().st_mtime < SOURCE.stat().st_mtime:
        LIBRARY.parent.mkdir(exist_ok=True)
        this_machine = "-march=native" if platform.machine().lower() in {"x86_64", "amd64"} else "-mcpu=native"
        flags = ["-O3", this_machine, "-std=c++17", "-shared", "-fPIC", "-pthread"]
        subprocess.run([os.environ.get("CXX", "c++"), *flags, "-o", LIBRARY, SOURCE], check=True)
    library = ctypes.CDLL(str(LIBRARY))
    library.read_rate.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_int]
    for name in ("float_rate", "bfloat16_rate"):
        getattr(library, name).argtypes = [ctypes.c_int64, ctypes.c_int]
    for name in ("read_rate", "float_rate", "bfloat16_rate"):
        getattr(library, name).restype = ctypes.c_double
    library.nothing.argtypes = [ctypes.c_void_p]
    library.nothing.restype = None
    return library


@functools.cache
def _buffer() -> np.ndarray:
    return np.ones(BUFFER_BYTES, dtype=np.uint8)  # written, so that every page is there
