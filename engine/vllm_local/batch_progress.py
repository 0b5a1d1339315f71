"""The progress bar over a batch."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class BatchProgress:
    """Shows how many requests of a batch have ended and how fast tokens come; on standard error."""

    def __init__(self, total: int, *, is_shown: bool) -> None:
        """Prepares the bar.

        Args:
            total: Requests in the batch.
            is_shown: Whether to show anything.
        """
        self._progress = Progress(
            TextColumn("Processed prompts"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]:.1f} tokens/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not is_shown or total == 0,
        )
        self._task = self._progress.add_task("", total=total, speed=0.0)
        self._started = time.monotonic()

    def update(self, *, num_finished: int, num_tokens: int) -> None:
        """Moves the bar.

        Args:
            num_finished: Requests that have ended.
            num_tokens: Tokens generated so far.
        """
        elapsed = time.monotonic() - self._started
        self._progress.update(self._task, completed=num_finished, speed=num_tokens / max(elapsed, 1e-9))

    def __enter__(self) -> BatchProgress:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        self._progress.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
