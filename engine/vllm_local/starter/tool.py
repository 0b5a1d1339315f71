"""A tool that the model may call, its arguments, and a request for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_local.starter.source import Source
from vllm_local.starter.values import FOREIGN_KINDS, Value, draw_value

_PLACEHOLDER = re.compile(r"{(\w+)}")
_EXPLAINED = 0.2


@dataclass(frozen=True)
class Argument:
    """An argument of a tool.

    Attributes:
        name: Its name in the schema.
        type: JSON type.
        kind: What ``draw_value`` knows, "enum a/b/c", or "bool yes words/no words".
        description: For the schema; may be empty.
        required: Whether each call has it.
    """

    name: str
    type: str
    kind: str
    description: str
    required: bool

    @property
    def options(self) -> tuple[str, ...]:
        """What an enum may be, or how a boolean is said; else nothing."""
        kind, _, rest = self.kind.partition(" ")
        return tuple(rest.split("/")) if kind in ("enum", "bool") else ()

    def draw(self, source: Source) -> Value:
        """Draw a value of the argument's kind."""
        if not self.options:
            value = draw_value(source, self.kind)
            explained = self.kind in FOREIGN_KINDS and source.values == "train" and source.chance(_EXPLAINED)
            return _explained(source, value) if explained else value
        text = source.rng.choice(self.options)
        return Value(text, text == self.options[0] if self.type == "boolean" else text)


def _explained(source: Source, value: Value) -> Value:
    """Return a foreign value as people write it: often quoted, with what it means behind it, which is not copied."""
    quote = source.rng.choice(("'", "'", '"', ""))
    meaning = " ".join(source.any_word() for _ in range(source.rng.randint(1, 3)))
    return Value(f"{quote}{value.text}{quote} ({meaning.title() if source.chance(0.7) else meaning})", value.json)


@dataclass(frozen=True)
class Request:
    """A sentence that asks for a call, and the arguments of that call."""

    text: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Tool:
    """A tool and the ways to ask for it.

    Attributes:
        name: Its name.
        description: For the schema; may be empty.
        arguments: Its arguments.
        asks: Requests, in which a "{name}" stands for an argument's value.
        words: The verb and the noun of a composed tool.
        needs_descriptions: Whether a request may name an argument by a word that only its description has.
    """

    name: str
    description: str
    arguments: tuple[Argument, ...]
    asks: tuple[str, ...]
    words: tuple[str, ...] = ()
    needs_descriptions: bool = False

    def request(self, source: Source) -> Request:
        """Draw a sentence that asks for this tool."""
        return self.fill(source.rng.choice(self.asks), self.draw_values(source))

    def draw_values(self, source: Source) -> dict[str, Value]:
        """Draw a value for every argument."""
        return {argument.name: argument.draw(source) for argument in self.arguments}

    def fill(self, ask: str, values: Mapping[str, Value]) -> Request:
        """Put the values into one way to ask; arguments that it does not mention are left out."""
        mentioned = set(_PLACEHOLDER.findall(ask))
        text = _PLACEHOLDER.sub(lambda match: values[match[1]].text, ask)
        return Request(text, {key: value.json for key, value in values.items() if key in mentioned})


@dataclass(frozen=True)
class Slot:
    """An argument, and ways to say its value, which is "{value}" in them.

    Attributes:
        argument: The argument.
        phrases: The ways.
        is_bare: Whether they have no word for the argument.
        is_described: Whether their word for the argument stands in its description alone.
    """

    argument: Argument
    phrases: tuple[str, ...]
    is_bare: bool = False
    is_described: bool = False
