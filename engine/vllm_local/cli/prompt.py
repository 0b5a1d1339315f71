"""Asks a person for a line."""

from __future__ import annotations

import contextlib

import typer

from vllm_local.errors import VLLMLocalError


def ask(prompt: str) -> str:
    """Returns a line that was typed; arrow keys edit it and bring back earlier ones, Ctrl-C throws it away.

    Raises:
        EOFError: The input has ended, or Ctrl-D was pressed.
        VLLMLocalError: The input is not in this system's encoding.
    """
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() its line editing and history; Windows has its own
    while True:
        try:
            return input(prompt)
        except KeyboardInterrupt:
            typer.echo("\n(Ctrl-D or /exit ends the program)", err=True)
        except UnicodeDecodeError as error:
            raise VLLMLocalError(f"The input is no text: {error}.") from error
