"""The threads that grammars are compiled on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

STACK_BYTES = 1 << 29
"""llguidance follows references by recursion, some 8 kB of stack each, and ends the process where the stack does."""
SMALL_SIZE = 20_000
"""Characters of a constraint that is compiled in some milliseconds."""


class CompileThreads:
    """Two threads with deep stacks, one for small constraints and one for large, so that no small one waits for those.

    Safe to use from any number of threads. The threads start with the first work, and end with this object.
    """

    _stack_size_lock = threading.Lock()

    def __init__(self) -> None:
        """Starts nothing."""
        self._lock = threading.Lock()
        self._small: ThreadPoolExecutor | None = None
        self._large: ThreadPoolExecutor | None = None

    def submit(self, size: int, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Calls a function on one of the threads.

        Args:
            size: Characters of the constraint.
            function: What compiles it.
            *args: Its arguments.
            **kwargs: Its arguments by name.
        """
        with self._lock:
            if size <= SMALL_SIZE:
                executor = self._small = self._small or self._start("small")
            else:
                executor = self._large = self._large or self._start("large")
        return executor.submit(function, *args, **kwargs)

    def _start(self, name: str) -> ThreadPoolExecutor:
        executor = ThreadPoolExecutor(1, thread_name_prefix=f"vllm-local {name} grammars")
        # The size is the process's; it goes for threads that start while it is set. Memory is taken as it is used.
        with self._stack_size_lock:
            before = threading.stack_size(STACK_BYTES)
            try:
                executor.submit(threading.get_ident).result()
            finally:
                threading.stack_size(before)
        return executor
