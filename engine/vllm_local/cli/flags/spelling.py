"""The spellings that vLLM's command line allows, brought to one."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vllm_local.cli.flags.values import integer
from vllm_local.errors import InvalidConfigError

_DOTTED = re.compile(r"(--?[A-Za-z][\w-]*)\.([^=]+)")


def normalize(arguments: Sequence[str]) -> list[str]:
    """Returns arguments with dashes for underscores, dotted ones as JSON, and `-O3` spelled out.

    `--config.key value`, `--config.key=value` and `--config.list+ a,b` become one `--config '{"key": …}'` at the end.

    Raises:
        InvalidConfigError: A dotted argument has no value.
    """
    plain: list[str] = []
    objects: dict[str, dict[str, Any]] = {}
    rest = [spelled for argument in arguments for spelled in _respell(argument)]
    while rest:
        argument = rest.pop(0)
        name, separator, value = argument.partition("=")
        match = _DOTTED.fullmatch(name)
        if match is None:
            plain.append(argument)
            continue
        if not separator:
            if not rest:
                raise InvalidConfigError(f"{name} needs a value.")
            value = rest.pop(0)
        flag, path = match.groups()
        _merge(objects.setdefault(flag, {}), _nest(path, value))
    for flag, content in objects.items():
        plain += [flag, json.dumps(content)]
    return plain


def _respell(argument: str) -> list[str]:
    """Returns one argument with an option's underscores as dashes, up to its first dot or equals sign."""
    if argument.startswith("-O") and not argument.startswith("-O."):
        level = argument[2:].removeprefix("=")
        return ["--optimization-level", level] if level else ["--optimization-level"]
    if not argument.startswith("--"):
        return [argument]
    name, separator, value = argument.partition("=")
    head, dot, path = name.partition(".")
    return [f"{head.replace('_', '-')}{dot}{path}{separator}{value}"]


def _nest(path: str, text: str) -> dict[str, Any]:
    value: Any = text.split(",") if path.endswith("+") else _read(text)
    for key in reversed(path.removesuffix("+").split(".")):
        value = {key: value}
    return dict(value)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        return integer(text)
    except argparse.ArgumentTypeError:
        return text


def _merge(target: dict[str, Any], update: Mapping[str, Any]) -> None:
    for key, value in update.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        elif isinstance(value, list) and isinstance(target.get(key), list):
            target[key] += value
        else:
            target[key] = value
