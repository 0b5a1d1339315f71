"""What is slow to open and shared by a process: each opened once, by whoever asks first, in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """An engine or a server."""

    def check_health(self) -> None:
        """Raises whatever makes it unusable."""

    def close(self) -> None:
        """Frees it."""


Resource = TypeVar("Resource", bound=Closable)


class Registry(Generic[Resource]):
    """Open resources by key. One that was closed or has died, or failed to open, is replaced when next asked for."""

    def __init__(self, thread_name: str) -> None:
        """Makes an empty registry.

        Args:
            thread_name: Name of the threads in which resources are opened.
        """
        self._thread_name = thread_name
        self._lock = threading.Lock()
        self._futures: dict[str, Future[Resource]] = {}

    def get(self, key: str, open_resource: Callable[[], Resource]) -> Future[Resource]:
        """Returns the resource of this key, which is opened if nobody has."""
        with self._lock:
            future = self._futures.get(key)
            if future is None or _is_unusable(future):
                future = self._futures[key] = Future()
                future.set_running_or_notify_cancel()
                # In a thread of its own, so that Ctrl-C and event loops need not wait for it, and so that a process
                # forked from this thread finds no OpenMP threads that only existed in its parent.
                thread = threading.Thread(
                    target=_open_into, args=(future, open_resource), name=self._thread_name, daemon=True
                )
                thread.start()
        return future

    def ready(self, key: str) -> Resource | None:
        """Returns the resource of this key if it is open and well."""
        future = self._futures.get(key)
        return future.result() if future is not None and future.done() and not _is_unusable(future) else None

    def close(self, key: str | None = None) -> None:
        """Closes the resource of this key, or all; waits for those that are being opened."""
        with self._lock:
            keys = list(self._futures) if key is None else [key]
            futures = [self._futures.pop(key) for key in keys if key in self._futures]
        for future in futures:
            with contextlib.suppress(Exception):
                future.result().close()


def _is_unusable(future: Future[Resource]) -> bool:
    if not future.done():
        return False
    if future.exception() is not None:
        return True
    try:
        future.result().check_health()
    except Exception:  # noqa: BLE001 - dead or closed, whatever it says
        return True
    return False


def _open_into(future: Future[Resource], open_resource: Callable[[], Resource]) -> None:
    try:
        future.set_result(open_resource())
    except BaseException as error:  # noqa: BLE001 - it belongs to those who wait for the resource
        future.set_exception(error)
