"""The progress bar of long commands, on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextlib.contextmanager
def progress_bar(title: str, total: int, *, is_shown: bool = True) -> Iterator[Callable[[], None]]:
    """Gives a function that moves the bar by one.

    Args:
        title: What is going on.
        total: How often it will be called.
        is_shown: Whether to show anything.
    """
    columns = (
        TextColumn(title, markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not is_shown) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)
