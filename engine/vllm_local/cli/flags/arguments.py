"""What was said on a command line, and what it comes to."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vllm_local.cli.flags.flag import Flag, Shape, Target
from vllm_local.cli.flags.parser import parse
from vllm_local.config import EngineConfig
from vllm_local.errors import InvalidConfigError

if TYPE_CHECKING:
    from vllm_local.server.settings import ServerSettings

logger = logging.getLogger(__name__)

API_KEY_VARIABLE = "VLLM_API_KEY"
"""vLLM's environment variable for the key of a server."""


class Arguments:
    """The options that were given to a command, checked against its tables."""

    def __init__(self, command: str, flags: Sequence[Flag], given: Mapping[str, Any]) -> None:
        """Takes parsed options, refuses what cannot be had, and warns once of each that does nothing.

        Args:
            command: The command, for messages.
            flags: Its options.
            given: What was given, by name.

        Raises:
            InvalidConfigError: An option is not to be had here, or one is missing.
        """
        self._command = command
        self._flags = {flag.destination: flag for flag in flags}
        self._given = dict(given)
        for name, value in self._given.items():
            _judge(self._flags[name], value)
        for flag in flags:
            if flag.is_required and flag.destination not in self._given:
                message = f"vllm-local {command} needs --{flag.name}: {flag.help} See `vllm-local {command} --help`."
                raise InvalidConfigError(message)

    @classmethod
    def parse(
        cls, command: str, flags: Sequence[Flag], arguments: Sequence[str], positional: str | None = None
    ) -> Arguments:
        """Reads a command line; see `parse` for its arguments and errors."""
        return cls(command, flags, parse(command, flags, arguments, positional))

    def __getitem__(self, name: str) -> Any:
        """Returns an option's value or default, by its name with underscores."""
        return self._given.get(name, self._flags[name].default)

    def has(self, name: str) -> bool:
        """Whether an option was given."""
        return name in self._given

    def engine_config(self, **defaults: Any) -> EngineConfig:
        """Returns the engine arguments.

        Args:
            **defaults: Where the command's own differ from EngineConfig's.

        Raises:
            InvalidConfigError: A value is out of its bounds, or at odds with another.
        """
        values = {**defaults, **self._values(Target.ENGINE)}
        return EngineConfig(**_match_batch_sizes(values))

    def server_settings(self) -> ServerSettings:
        """Returns the front end's settings; without a key, that of the environment variable VLLM_API_KEY.

        Raises:
            InvalidConfigError: A value is out of its bounds, or at odds with another.
        """
        from vllm_local.server.settings import ServerSettings

        values = self._values(Target.SERVER)
        if self.has("api_key") and not any(values["api_key"]):
            raise InvalidConfigError("--api-key is empty, which would let everybody in; to do so, leave it out.")
        if "api_key" in self._flags:
            keys = values.get("api_key", (os.environ.get(API_KEY_VARIABLE, ""),))
            values["api_key"] = tuple(key for key in keys if key)
        return ServerSettings(**values)

    def _values(self, target: Target) -> dict[str, Any]:
        values = {}
        for name, value in self._given.items():
            flag = self._flags[name]
            if flag.target is target:
                values[flag.sets] = tuple(value) if flag.shape is Shape.LIST else value
        return values


def without(flags: Iterable[Flag], *names: str) -> tuple[Flag, ...]:
    """Returns a table without some of its options."""
    return tuple(flag for flag in flags if flag.name not in names)


def _judge(flag: Flag, value: Any) -> None:
    if value in flag.harmless or (flag.shape is Shape.LIST and not value):
        return
    spelled = f"--no-{flag.name}" if value is False else f"--{flag.name}"
    if flag.target is Target.UNUSED:
        logger.warning("%s has no effect here: %s.", spelled, flag.advice)
    elif flag.target is Target.REFUSED:
        shown = "" if flag.shape is Shape.SWITCH else f" {value}"
        raise InvalidConfigError(f"{spelled}{shown} is not available here: {flag.advice}.")


def _match_batch_sizes(values: dict[str, Any]) -> dict[str, Any]:
    """Where only one of the two sizes of a step was given, lets the other follow it, as scripts for vLLM expect."""
    sequences, tokens = values.get("max_num_seqs"), values.get("max_num_batched_tokens")
    defaults = EngineConfig()
    if tokens is None and sequences is not None and sequences > defaults.max_num_batched_tokens:
        return {**values, "max_num_batched_tokens": sequences}
    if sequences is None and tokens is not None and tokens < defaults.max_num_seqs:
        return {**values, "max_num_seqs": tokens}
    return values
