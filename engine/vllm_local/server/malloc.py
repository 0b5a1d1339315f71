"""glibc's heaps: many threads in one process make it keep memory that nobody uses."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

_M_ARENA_MAX = -8
_NUM_ARENAS = 2


def limit_arenas() -> None:
    """Lets glibc keep two heaps instead of eight a core; before threads start, since each then takes one of its own.

    Under load on the starter model that is 100 MB less. A number that the user has set, MALLOC_ARENA_MAX, stays.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    with contextlib.suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _NUM_ARENAS)


def return_free_memory() -> None:
    """Gives the system back what glibc's heaps hold and nobody uses; takes some milliseconds.

    A heap shrinks by itself only from its end, so what a burst of requests took would stay until the next one.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another libc
            ctypes.CDLL(None).malloc_trim(0)


class IdleTrim:
    """Knows when memory is to be returned: once after each burst of requests, when none is left."""

    def __init__(self) -> None:
        """Begins with a server that has done nothing."""
        self._trimmed_at = 0

    def is_due(self, num_generated_tokens: int, *, is_idle: bool) -> bool:
        """Whether to return memory now.

        Args:
            num_generated_tokens: Of all requests since the start.
            is_idle: Whether no request runs or waits.
        """
        is_due = is_idle and num_generated_tokens != self._trimmed_at
        if is_due:
            self._trimmed_at = num_generated_tokens
        return is_due
