"""The engines that this process has loaded: closed at exit, and named when memory runs short."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from typing import Protocol


class LoadedEngine(Protocol):
    """What the registry needs of an engine."""

    def describe(self) -> str:
        """Returns one line for a person: the model, its size, how to free it."""

    def reserved_memory(self) -> int:
        """Returns the bytes of main memory that it may still take beyond what it has taken."""

    def close_at_exit(self) -> None:
        """Frees it, without a word to whoever still waits for it."""


class EngineThreads(Protocol):
    """What the registry needs of an engine's threads."""

    @property
    def is_alive(self) -> bool:
        """Whether one of them still runs."""

    def join(self) -> None:
        """Waits until they have ended."""


class EngineRegistry:
    """Engines of this process that nobody has closed or dropped, and the threads of those that end just now.

    Any thread may call it at any moment, a finalizer that the garbage collector runs in the middle of another call
    among them. A lock would deadlock there, so both tables change by single dict operations, and are read as copies.

    Attributes:
        loading: To be held while weights and KV cache are loaded, until the engine is added: two that load at once
            would each count on the memory that the other is about to take.
        is_after_fork: Whether this process was forked from one that had imported torch, whose threads are lost.
    """

    def __init__(self) -> None:
        """Begins empty."""
        self._engines: weakref.WeakValueDictionary[int, LoadedEngine] = weakref.WeakValueDictionary()
        self._threads: dict[int, EngineThreads] = {}
        self.loading = threading.Lock()
        self.is_after_fork = False

    def add(self, engine: LoadedEngine, threads: EngineThreads) -> None:
        """Remembers an engine for as long as somebody else refers to it, and its threads until they have ended."""
        self._engines[id(engine)] = engine
        self._threads[id(threads)] = threads
        for key, known in list(self._threads.items()):
            if not known.is_alive:
                self._threads.pop(key, None)

    def discard(self, engine: LoadedEngine) -> None:
        """Forgets an engine."""
        self._engines.pop(id(engine), None)

    def descriptions(self) -> list[str]:
        """Returns one line an engine."""
        return [engine.describe() for engine in self._alive()]

    def reserved_memory(self) -> int:
        """Returns the bytes of main memory that engines may still take: the system counts them as left."""
        return sum(engine.reserved_memory() for engine in self._alive())

    def close_all(self) -> None:
        """Closes every engine, as the interpreter exits, and waits for those that were dropped before."""
        for engine in self._alive():
            engine.close_at_exit()
        for threads in list(self._threads.values()):
            threads.join()

    def begin_child(self) -> None:
        """Forgets all, in the child of a fork: the engines are its parent's."""
        self._engines = weakref.WeakValueDictionary()
        self._threads = {}
        self.loading = threading.Lock()  # a thread that the child lacks may have held the old one
        self.is_after_fork = "torch" in sys.modules

    def _alive(self) -> list[LoadedEngine]:
        return [engine for reference in self._engines.valuerefs() if (engine := reference()) is not None]


REGISTRY = EngineRegistry()
"""The one of this process."""
# Daemon threads that still compute while the interpreter goes away would crash it.
atexit.register(REGISTRY.close_all)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=REGISTRY.begin_child)
