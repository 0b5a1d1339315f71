"""What a request asks of its answer's form, with vLLM's names. Plain data; `structured_output` compiles it."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Constraint

MAX_GRAMMAR_BYTES = 1 << 20
"""Of a schema, a regular expression, or all choices together, as UTF-8."""
MAX_LARK_BYTES = 1 << 18
"""Of a grammar; it may have as many levels as it has some bytes, and each costs the compiler some of its stack."""
MAX_NUMBER_OF_CHOICES = 10_000
MAX_NESTING = 64
"""Levels of a schema; each costs the compiler, which is recursive, some of its stack."""

KINDS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag", "constraint")
"""The fields of which a request gives exactly one."""


@dataclass(frozen=True, kw_only=True)
class StructuredOutputsParams:
    """The form of an answer: one of the `KINDS`, and how it is read.

    Attributes:
        json: A JSON schema, as a mapping or as text.
        regex: A regular expression that matches the whole answer (Rust's syntax: no look-around).
        choice: The answers to choose from.
        grammar: A context-free grammar, in llguidance's Lark or in EBNF (`root ::= …`).
        json_object: True: any JSON object.
        structural_tag: Tags inside free text and what stands in each, in vLLM's shape, as a mapping or as text.
        constraint: A constraint that is ready; what the chat layer makes of tools.
        disable_any_whitespace: No white space between the tokens of JSON.
        disable_additional_properties: No properties but the named ones, also where the schema says nothing of any;
            this is what objects with named properties do anyway.
        whitespace_pattern: A regular expression of the white space that may stand between the tokens of JSON.
        starts_after: The text, "</think>" say, behind which the form begins; before it anything may be written.
    """

    json: str | Mapping[str, Any] | None = None
    regex: str | None = None
    choice: Sequence[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: str | Mapping[str, Any] | None = None
    constraint: Constraint | None = None
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False
    whitespace_pattern: str | None = None
    starts_after: str | None = None

    def __post_init__(self) -> None:
        """Brings the fields to one form and checks them.

        Raises:
            InvalidRequestError: Not exactly one kind is given, or a value has the wrong type or is too large.
        """
        if self.json_object is False:
            object.__setattr__(self, "json_object", None)
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise _invalid("", f"takes exactly one of {', '.join(KINDS[:-1])}, got {found}")
        object.__setattr__(self, "json", _as_mapping("json", self.json))
        object.__setattr__(self, "structural_tag", _as_mapping("structural_tag", self.structural_tag))
        object.__setattr__(self, "choice", _as_choices(self.choice))
        for name in ("regex", "grammar", "whitespace_pattern", "starts_after"):
            _check_text(name, getattr(self, name))
        for name in ("json_object", "disable_any_whitespace", "disable_additional_properties"):
            if not isinstance(getattr(self, name), (bool, type(None))):
                raise _invalid(name, f"must be True or False, got {reprlib.repr(getattr(self, name))}")

    @property
    def kind(self) -> str:
        """Which of `KINDS` is given."""
        return next(name for name in KINDS if getattr(self, name) is not None)


def _invalid(name: str, rule: str) -> InvalidRequestError:
    parameter = f"structured_outputs.{name}" if name else "structured_outputs"
    return InvalidRequestError(f"{parameter} {rule}.", parameter=parameter)


def _check_text(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise _invalid(name, f"must be a text, got {reprlib.repr(value)}")
    if name != "whitespace_pattern" and not value:
        raise _invalid(name, "must not be empty")
    _check_size(name, value)


def _check_size(name: str, text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise _invalid(name, f"holds half a surrogate pair, which is no character ({error})") from error
    most = MAX_LARK_BYTES if name == "grammar" else MAX_GRAMMAR_BYTES
    if size > most:
        raise _invalid(name, f"takes at most {most} bytes, got {size}")


def _as_choices(choice: object) -> tuple[str, ...] | None:
    if choice is None:
        return None
    items = choice if isinstance(choice, Sequence) and not isinstance(choice, (str, bytes)) else ()
    texts = tuple(dict.fromkeys(item for item in items if isinstance(item, str)))
    if not texts or any(not isinstance(item, str) for item in items):
        raise _invalid("choice", f"must be a list of at least one text, got {reprlib.repr(choice)}")
    if "" in texts:
        raise _invalid("choice", "must not hold an empty text")
    if len(texts) > MAX_NUMBER_OF_CHOICES:
        raise _invalid("choice", f"takes at most {MAX_NUMBER_OF_CHOICES} texts, got {len(texts)}")
    _check_size("choice", "".join(texts))
    return texts


def _as_mapping(name: str, value: object) -> Mapping[str, Any] | None:
    """Reads JSON; what holds a value twice, or itself, is copied or refused, so that nothing changes it later."""
    if value is None:
        return None
    try:
        text = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        _check_size(name, text)
        read = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise _invalid(name, f"is nested more than {MAX_NESTING} levels deep") from error
    except (TypeError, ValueError) as error:
        if isinstance(error, InvalidRequestError):
            raise
        raise _invalid(name, f"is not JSON: {error}") from error
    if not isinstance(read, dict):
        raise _invalid(name, f"must be a JSON object, got {reprlib.repr(read)}")
    if _nesting(read) > MAX_NESTING:
        raise _invalid(name, f"is nested more than {MAX_NESTING} levels deep")
    return read


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _nesting(value: object) -> int:
    """Counts levels of objects and lists, by rings rather than by recursion."""
    levels, ring = 0, [value]
    while ring:
        ring = [
            inner
            for item in ring
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        levels += 1
    return levels
