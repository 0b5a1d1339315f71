"""From a command line to what was said on it."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from vllm_local.cli.flags.config_file import read_config_file
from vllm_local.cli.flags.flag import Flag, Shape
from vllm_local.cli.flags.spelling import normalize
from vllm_local.errors import InvalidConfigError

_CONFIG = "config"


class _Parser(argparse.ArgumentParser):
    """argparse, as vLLM's own parser is, so that abbreviations and lists of values follow the same rules."""

    def error(self, message: str) -> NoReturn:
        raise InvalidConfigError(f"{message}. See `{self.prog} --help`.")


def parse(
    command: str, flags: Sequence[Flag], arguments: Sequence[str], positional: str | None = None
) -> dict[str, Any]:
    """Returns what was given, by name; what was not is not in it.

    What the command line says wins over the file that its `--config` names.

    Args:
        command: The command, for messages.
        flags: Its options.
        arguments: What stands behind it.
        positional: The option that may be given without its name.

    Raises:
        InvalidConfigError: An option is unknown, or a value is wrong.
    """
    parser = _make_parser(command, flags, positional)
    given = _parse(parser, flags, normalize(arguments), positional)
    path = given.pop(_CONFIG, None)
    if path is None:
        return given
    switches = {flag.name for flag in flags if flag.shape is Shape.SWITCH}
    from_file = _parse(parser, flags, normalize(read_config_file(path, switches)), positional)
    return {**from_file, **given}


def _make_parser(command: str, flags: Sequence[Flag], positional: str | None) -> _Parser:
    parser = _Parser(prog=f"vllm-local {command}", add_help=False, argument_default=argparse.SUPPRESS)
    if positional is not None:
        parser.add_argument(f"{positional}_positional", nargs="?")
    for flag in flags:
        names = [f"--{flag.name}"] if flag.short is None else [flag.short, f"--{flag.name}"]
        if flag.shape is Shape.SWITCH:
            parser.add_argument(*names, dest=flag.destination, action=argparse.BooleanOptionalAction)
        elif flag.shape is Shape.LIST:
            parser.add_argument(*names, dest=flag.destination, type=flag.type, nargs="*", action="extend")
        else:
            parser.add_argument(*names, dest=flag.destination, type=flag.type, choices=flag.choices or None)
    return parser


def _parse(parser: _Parser, flags: Sequence[Flag], arguments: list[str], positional: str | None) -> dict[str, Any]:
    namespace, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise InvalidConfigError(_complain(parser.prog, unknown[0], flags))
    given = vars(namespace)
    if positional is None:
        return given
    value = given.pop(f"{positional}_positional", None)
    if value is not None and given.setdefault(positional, value) != value:
        message = f"{parser.prog} got two values for {positional}: {value!r} and --{positional} {given[positional]!r}."
        raise InvalidConfigError(message)
    return given


def _complain(program: str, argument: str, flags: Sequence[Flag]) -> str:
    if not argument.startswith("-"):
        return f"{program} does not know what to do with {argument!r}. See `{program} --help`."
    name = argument.partition("=")[0].lstrip("-")
    near = difflib.get_close_matches(name, [flag.name for flag in flags], n=1)
    hint = f" Did you mean --{near[0]}?" if near else ""
    return f"{program} has no option {argument.partition('=')[0]}.{hint} `{program} --help=all` lists them all."
