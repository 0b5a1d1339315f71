"""The progress bar over a batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_REFRESH_SECONDS = 0.1


class CountedRequest(Protocol):
    """What the bar needs of a request."""

    @property
    def is_ended(self) -> bool:
        """Whether it has ended."""

    @property
    def num_generated_tokens(self) -> int:
        """Tokens generated for it so far."""


class BatchProgress:
    """Shows how many requests of a batch have ended and how fast tokens come; on standard error."""

    def __init__(self, requests: Sequence[CountedRequest], *, is_shown: bool) -> None:
        """Prepares the bar.

        Args:
            requests: The batch.
            is_shown: Whether to show anything.
        """
        self._requests = requests
        self._is_shown = is_shown and len(requests) > 0
        self._progress = Progress(
            TextColumn("Processed prompts"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]:.1f} tokens/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self._is_shown,
        )
        self._task = self._progress.add_task("", total=len(requests), speed=0.0)
        self._started = self._refreshed = time.monotonic()

    def refresh(self) -> None:
        """Moves the bar, if that was not done just now: it costs a look at every request."""
        now = time.monotonic()
        if self._is_shown and now - self._refreshed >= _REFRESH_SECONDS:
            self._refreshed = now
            self._update(now)

    def _update(self, now: float) -> None:
        num_ended = sum(request.is_ended for request in self._requests)
        num_tokens = sum(request.num_generated_tokens for request in self._requests)
        speed = num_tokens / max(now - self._started, 1e-9)
        self._progress.update(self._task, completed=num_ended, speed=speed)

    def __enter__(self) -> BatchProgress:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        self._progress.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_shown:
            self._update(time.monotonic())
        self._progress.stop()
