"""One option of a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Target(Enum):
    """What an option is for."""

    COMMAND = "command"
    """The command itself reads it."""
    ENGINE = "engine"
    """A field of EngineConfig."""
    SERVER = "server"
    """A field of ServerSettings."""
    UNUSED = "unused"
    """Accepted for the sake of vLLM users' scripts; a warning says that it does nothing."""
    REFUSED = "refused"
    """An error says what to do instead: without it, answers would be other ones than the user expects."""


class Shape(Enum):
    """How an option takes its value."""

    VALUE = "value"
    SWITCH = "switch"  # --x and --no-x
    LIST = "list"  # one or more, and repeatable


@dataclass(frozen=True, kw_only=True)
class Flag:
    """An option.

    Attributes:
        name: Without the two dashes.
        help: What it does; one or two sentences.
        group: The heading that it is listed under; vLLM's names.
        target: What it is for.
        field: The field that it sets, if it is not called as the option is.
        shape: How it takes its value.
        type: Makes a value from a text; raises ArgumentTypeError.
        short: A short name with its dash, such as "-tp".
        choices: Values that are allowed, if they are few.
        default: What a command takes where the option is left out.
        advice: Why it does nothing here, or what to do instead.
        harmless: Values that ask for nothing that is not so anyway.
        is_required: Whether a command needs it.
    """

    name: str
    help: str = ""
    group: str = "Options"
    target: Target = Target.COMMAND
    field: str | None = None
    shape: Shape = Shape.VALUE
    type: Callable[[str], Any] = str
    short: str | None = None
    choices: tuple[Any, ...] = ()
    default: Any = None
    advice: str = ""
    harmless: tuple[Any, ...] = ()
    is_required: bool = False

    @property
    def destination(self) -> str:
        """Its name as Python spells it."""
        return self.name.replace("-", "_")

    @property
    def sets(self) -> str:
        """The field that it sets."""
        return self.field or self.destination
