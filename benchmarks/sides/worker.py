"""The process that a side runs in.

Sides are measured in turn, each with all threads, so that none may find another's threads spinning or its memory
allocator in the way.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from sides.side import Side

_loaded: dict[str, Side] = {}


class Worker:
    """A side in a process of its own, which sleeps unless asked."""

    def __init__(self, make_side: Callable[[Path, int], Side], model: Path, num_threads: int) -> None:
        """Starts to load; returns at once."""
        self._process = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self._loading: Future[None] = self._process.submit(_load, make_side, model, num_threads)

    def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the side, and returns what it returns."""
        self._loading.result()
        return self._process.submit(_call, method, *arguments).result()

    def close(self) -> None:
        """Ends the process."""
        self._process.shutdown(cancel_futures=True)


def _load(make_side: Callable[[Path, int], Side], model: Path, num_threads: int) -> None:
    _loaded["side"] = make_side(model, num_threads)


def _call(method: str, *arguments: Any) -> Any:
    return getattr(_loaded["side"], method)(*arguments)
