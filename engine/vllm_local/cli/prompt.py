"""Asks a person for a line."""

from __future__ import annotations

import contextlib

import typer


def ask(prompt: str) -> str:
    """Returns a line that was typed; arrow keys edit it and bring back earlier ones, Ctrl-C throws it away.

    Raises:
        EOFError: The input has ended, or Ctrl-D was pressed.
    """
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() its line editing and history; Windows has its own
    while True:
        try:
            return input(prompt)
        except KeyboardInterrupt:
            typer.echo("\n(Ctrl-D or /exit ends the program)", err=True)
