"""`--config file.yaml`: options from a file."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from vllm_local.errors import InvalidConfigError


def read_config_file(path: str, switches: Collection[str]) -> list[str]:
    """Returns a YAML file's entries as command line arguments, as vLLM reads them.

    Args:
        path: A .yaml or .yml file that maps options' names to values.
        switches: Names of the options that are on or off.

    Raises:
        InvalidConfigError: The file cannot be read, or is not such a mapping.
    """
    if Path(path).suffix not in {".yaml", ".yml"}:
        raise InvalidConfigError(f"--config takes a .yaml or .yml file, got {path}.")
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidConfigError(f"The config file {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InvalidConfigError(f"The config file {path} must map options to values, such as `port: 8000`.")
    return [argument for name, value in content.items() for argument in _as_arguments(str(name), value, switches)]


def _as_arguments(name: str, value: Any, switches: Collection[str]) -> list[str]:
    name = name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool) and (name in switches or value):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, list):
        return [f"--{name}", *(item if isinstance(item, str) else json.dumps(item) for item in value)] if value else []
    if isinstance(value, dict):
        return [f"--{name}", json.dumps(value)]
    # One argument, not two: a value such as -1 or "-x" is no option.
    return [f"--{name}={value}"]
