"""`--help`, `--help=<group>`, `--help=<part of an option's name>` and `--help=all`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vllm_local.cli.flags.flag import Flag, Shape, Target
from vllm_local.config import EngineConfig

OWN_GROUP = "Options"
_IDLE = (Target.UNUSED, Target.REFUSED)


def help_topic(arguments: Sequence[str]) -> str | None:
    """Returns what help was asked for: "" for the short one, None for none."""
    for argument in arguments:
        if argument in {"--help", "-h"}:
            return ""
        if argument.startswith("--help="):
            return argument.partition("=")[2].strip().lower().replace("_", "-")
    return None


def show_help(command: str, usage: str, summary: str, flags: Sequence[Flag], topic: str = "") -> None:
    """Writes a command's help.

    Args:
        command: The command.
        usage: What follows it, such as "[MODEL] [OPTIONS]".
        summary: What it does.
        flags: Its options.
        topic: Nothing, "all", a group, or a part of an option's name.
    """
    console = Console(highlight=False)
    groups = _by_group(flags)
    if not topic:
        console.print(f"Usage: vllm-local {command} {usage}\n\n{summary}", markup=False)
        _show_short(console, command, groups)
        return
    for group, members in _matching(groups, topic).items():
        _show_group(console, group, members)
    if not _matching(groups, topic):
        console.print(f"No group or option matches {topic!r}; --help lists the groups, --help=all everything.")


def _by_group(flags: Sequence[Flag]) -> dict[str, list[Flag]]:
    groups: dict[str, list[Flag]] = {}
    for flag in flags:
        groups.setdefault(flag.group, []).append(flag)
    return groups


def _matching(groups: dict[str, list[Flag]], topic: str) -> dict[str, list[Flag]]:
    if topic == "all":
        return groups
    named = {group: members for group, members in groups.items() if group.lower() == topic}
    if named:
        return named
    found = [flag for members in groups.values() for flag in members if topic in flag.name or topic == flag.short]
    return {f"Options that match {topic!r}": found} if found else {}


def _show_short(console: Console, command: str, groups: dict[str, list[Flag]]) -> None:
    """Shows the command's own options, and the names of the other groups."""
    if OWN_GROUP in groups:
        _show_group(console, OWN_GROUP, groups[OWN_GROUP])
    others = {group: members for group, members in groups.items() if group != OWN_GROUP}
    if not others:
        return
    console.print(f"\nMore options, by group (`vllm-local {command} --help=<group>`, `--help=<option>`, `--help=all`)")
    table = _two_columns()
    for group, members in others.items():
        used = ", ".join(f"--{flag.name}" for flag in members if flag.target not in _IDLE)
        if used:
            table.add_row(group, Text(used, style="dim"))
    idle = [group for group, members in others.items() if all(flag.target in _IDLE for flag in members)]
    if idle:
        table.add_row("without effect", Text(", ".join(idle), style="dim"))
    console.print(Padding(table, (0, 0, 0, 2)))


def _show_group(console: Console, title: str, flags: Sequence[Flag]) -> None:
    console.print(f"\n{title}", style="bold", markup=False)
    table = _two_columns()
    for flag in flags:
        table.add_row(Text(_spell(flag)), Text(_describe(flag), style="dim" if flag.target is Target.UNUSED else ""))
    console.print(Padding(table, (0, 0, 0, 2)))


def _two_columns() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(max_width=34, overflow="fold")
    table.add_column(ratio=1)
    return table


def _spell(flag: Flag) -> str:
    if flag.shape is Shape.SWITCH:
        text = f"--{flag.name} / --no-{flag.name}"
    else:
        many = " …" if flag.shape is Shape.LIST else ""
        text = f"--{flag.name} {flag.name.rpartition('-')[2].upper()}{many}"
    return text if flag.short is None else f"{flag.short}, {text}"


def _describe(flag: Flag) -> str:
    parts = [flag.help]
    if flag.choices:
        parts.append(f"One of {', '.join(map(str, flag.choices))}.")
    default = _default(flag)
    if default not in (None, "", (), {}, False):
        parts.append(f"Default: {_show(default)}.")
    return " ".join(part for part in parts if part)


def _default(flag: Flag) -> Any:
    """Returns a default from where it is said once."""
    if flag.target is Target.ENGINE:
        return getattr(EngineConfig(), flag.sets)
    if flag.target is Target.SERVER:
        from vllm_local.server.settings import ServerSettings

        return getattr(ServerSettings(), flag.sets)
    return flag.default


def _show(default: Any) -> str:
    return ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)
