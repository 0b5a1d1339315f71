"""Command lines of the servers that can be started: `vllm-local serve`, and the real `vllm serve`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from vllm_local.errors import InvalidConfigError

HOST = "127.0.0.1"
KEY_VARIABLE = "VLLM_API_KEY"
"""Where both servers read their key. A command line would show it to everybody on the machine."""
_TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 - its name, not its value
_SETTINGS = ("--disable-uvicorn-access-log", "--enable-prompt-tokens-details")
_ALREADY_SAID = frozenset({"host", "port", "api_key", "model"})


@dataclass(frozen=True)
class ServerCommand:
    """How to start a server; the port and the key are added when it is started.

    Attributes:
        program: What to call it in messages.
        model: The model that it serves.
        argv: Program and arguments.
        environment: Variables to set for it.
        announces_port: Whether it takes port 0 and logs which one it got; if not, a free one is kept for it.
        shows_progress: Whether to show that it is starting.
    """

    program: str
    model: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    announces_port: bool = False
    shows_progress: bool = True

    @property
    def key(self) -> str:
        """What tells servers apart; no secret is part of it."""
        return json.dumps([self.program, self.model, *self.argv])


def own_server(model: str, engine_args: Mapping[str, Any]) -> ServerCommand:
    """Returns how to serve a model with this package.

    Args:
        model: Hugging Face id, folder or the starter model's name.
        engine_args: Arguments of the engine by vLLM's names.
    """
    return ServerCommand(
        program="vllm-local serve",
        model=model,
        argv=(sys.executable, "-m", "vllm_local", "serve", model, *_SETTINGS, *_flags(engine_args)),
        # Python 3.11 and later: what lies in the working directory must not be imported in place of a package.
        environment={**_token(engine_args), "PYTHONSAFEPATH": "1"},
        announces_port=True,
        shows_progress=bool(engine_args.get("use_tqdm_on_load", True)),
    )


def vllm_server(model: str, engine_args: Mapping[str, Any]) -> ServerCommand:
    """Returns how to serve a model with vLLM, whose options are its own business.

    Raises:
        InvalidConfigError: vLLM is not installed, or an argument is one that is set here.
    """
    if taken := _ALREADY_SAID & {name.replace("-", "_") for name in engine_args}:
        message = f"engine_args must not have {', '.join(sorted(taken))}: the server is started for this process alone."
        raise InvalidConfigError(message)
    shows_progress = bool(engine_args.get("use_tqdm_on_load", True))
    return ServerCommand(
        program="vllm serve",
        model=model,
        argv=(_vllm_program(), "serve", model, *_SETTINGS, *_flags(engine_args)),
        environment=_token(engine_args),
        shows_progress=shows_progress,
    )


def _vllm_program() -> str:
    beside_python = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    program = shutil.which("vllm", path=beside_python)
    if program is None:
        message = (
            'backend="vllm" needs the program `vllm`, which is not on the PATH. Install it (pip install vllm; on a '
            'machine without a GPU see docs/scale-out.md), or use backend="server".'
        )
        raise InvalidConfigError(message)
    return program


def _token(engine_args: Mapping[str, Any]) -> dict[str, str]:
    token = engine_args.get("hf_token")
    if isinstance(token, SecretStr):
        token = token.get_secret_value()
    return {_TOKEN_VARIABLE: token} if isinstance(token, str) else {}


def _flags(engine_args: Mapping[str, Any]) -> list[str]:
    """Returns engine arguments as options: True and False as switches, dicts as JSON, lists as several values."""
    flags: list[str] = []
    for name, value in engine_args.items():
        dashed = name.replace("_", "-")
        if value is None or name == "hf_token":
            continue
        if isinstance(value, bool):
            flags.append(f"--{dashed}" if value else f"--no-{dashed}")
        elif isinstance(value, (list, tuple)):
            flags += [f"--{dashed}", *map(str, value)]
        else:
            # With a "=", so that values which begin with a dash are no options of their own.
            flags.append(f"--{dashed}={json.dumps(value) if isinstance(value, Mapping) else value}")
    return flags
