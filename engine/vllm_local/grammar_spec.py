r"""What an answer must look like, as plain data: made by `chat` and the server, compiled by `structured_output`.

A constraint is a small tree. "Any text, and between it calls of one tool" reads:

    call = Chain((Text("<tool_call>\n"), Json(schema), Text("\n</tool_call>")))
    Chain((Repeated(Chain((FreeText(("<tool_call>",)), call))), FreeText(("<tool_call>",))))
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Text:
    """These characters.

    Attributes:
        text: The texts of special tokens in it mean those tokens, where the tokenizer has them.
    """

    text: str


@dataclass(frozen=True)
class Json:
    """One JSON value.

    Attributes:
        schema: A JSON schema; True is any value, `{"type": "object"}` any object. Properties are written in its order.
        whitespace: A regular expression of what may stand between its tokens; "": nothing does; None: one blank stands
            behind each colon and comma, as `json.dumps` writes: models know it, and it forces runs of tokens.
        closed: Objects hold no properties but the named ones, unless their schema says something about the others.
    """

    schema: bool | Mapping[str, Any]
    whitespace: str | None = None
    closed: bool = True


@dataclass(frozen=True)
class Pattern:
    r"""A text that a regular expression matches as a whole.

    Attributes:
        regex: In the syntax of Rust's regex crate: no look-around, no references back; `\d` is 0 to 9.
    """

    regex: str


@dataclass(frozen=True)
class Lark:
    """A text of a context-free grammar.

    Attributes:
        grammar: In llguidance's dialect of Lark with the rule `start`, or in EBNF with the rule `root` and `::=`.
    """

    grammar: str


@dataclass(frozen=True)
class FreeText:
    """Any text, the empty one included.

    Attributes:
        without: Texts that it must not contain. Behind a free text stands one of them, or nothing.
    """

    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chain:
    """One part after the other.

    Attributes:
        parts: In their order.
    """

    parts: tuple[Constraint, ...]


@dataclass(frozen=True)
class OneOf:
    """One of several.

    Attributes:
        options: At least one.
    """

    options: tuple[Constraint, ...]


@dataclass(frozen=True)
class Repeated:
    """A part several times.

    Attributes:
        part: What is repeated.
        minimum: Least number of times.
        maximum: Most times; None: no limit.
        separator: What stands between two of them.
    """

    part: Constraint
    minimum: int = 0
    maximum: int | None = None
    separator: Constraint | None = None


Constraint: TypeAlias = Text | Json | Pattern | Lark | FreeText | Chain | OneOf | Repeated
"""Any of them."""


def constraint_key(constraint: Constraint) -> str:
    """Returns a text that is equal for equal constraints only; the order of a schema's properties counts."""
    return json.dumps(_as_data(constraint), separators=(",", ":"))


def sub_constraints(constraint: Constraint) -> Iterator[Constraint]:
    """Yields a constraint and all that it is made of, outer ones first."""
    pending: list[Constraint] = [constraint]
    while pending:
        current = pending.pop()
        yield current
        if isinstance(current, Chain):
            pending.extend(reversed(current.parts))
        elif isinstance(current, OneOf):
            pending.extend(reversed(current.options))
        elif isinstance(current, Repeated):
            pending.extend(part for part in (current.separator, current.part) if part is not None)


def _as_data(value: object) -> object:
    if isinstance(value, (Text, Json, Pattern, Lark, FreeText, Chain, OneOf, Repeated)):
        return [type(value).__name__, *(_as_data(getattr(value, item.name)) for item in fields(value))]
    if isinstance(value, tuple):
        return [_as_data(item) for item in value]
    return value
