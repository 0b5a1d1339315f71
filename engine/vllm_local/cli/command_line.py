"""What every command does first: show its help, or read its options."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from vllm_local.cli.flags.arguments import Arguments
from vllm_local.cli.flags.flag import Flag
from vllm_local.cli.flags.help import help_topic, show_help


def read_command_line(
    command: str,
    usage: str,
    summary: str,
    flags: Sequence[Flag],
    arguments: Sequence[str],
    *,
    positional: str | None = None,
) -> Arguments:
    """Returns a command's options, or shows its help and ends the program.

    Args:
        command: The command, such as "bench serve".
        usage: What follows it, for the help.
        summary: What it does, for the help.
        flags: Its options.
        arguments: What was typed behind it.
        positional: The option that may be given without its name.

    Raises:
        InvalidConfigError: An option is wrong.
        typer.Exit: Help was asked for, and shown.
    """
    topic = help_topic(arguments)
    if topic is not None:
        show_help(command, usage, summary, flags, topic)
        raise typer.Exit
    return Arguments.parse(command, flags, arguments, positional)
