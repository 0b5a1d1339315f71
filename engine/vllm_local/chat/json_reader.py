"""JSON read while it arrives: strings decoded, values passed on as they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from typing import TypeAlias

from vllm_local.chat.deltas import Delta
from vllm_local.chat.text_source import Reading, TextSource, Waiting

_OUTSIDE = re.compile(r'["{}\[\]<]')
"""What matters outside of strings. JSON has no "<" there: a closing tag has come too early."""
_INSIDE = re.compile(r'["\\]')
_SCALAR_END = re.compile(r"[,}\]\s<]")
_CLOSERS = {"}": "{", "]": "["}

_Scan: TypeAlias = Generator[str | None, None, bool]
"""Yields pieces of a value, and None for each wait; returns whether the value is whole."""


def read_json_string(source: TextSource) -> Waiting[str | None]:
    """Reads a string and returns what it says; None if there is none, it never ends or it is malformed."""
    if not (yield from source.accept('"')):
        return None
    raw = yield from _read_string_rest(source)
    if raw is None:
        return None
    try:
        text = json.loads('"' + raw, strict=False)
    except ValueError:
        return None
    # Half a surrogate pair could not be sent.
    return str(text).encode("utf-8", "replace").decode()


def read_json_value(source: TextSource) -> Waiting[str | None]:
    """Reads a value and returns it as it is written; None if it never ends or its brackets do not match."""
    parts: list[str] = []
    reader = _scan_value(source)
    while True:
        try:
            piece = next(reader)
        except StopIteration as stop:
            return "".join(parts) if stop.value else None
        if piece is None:
            yield None
        else:
            parts.append(piece)


def stream_json_value(source: TextSource, make: Callable[[str], Delta]) -> Reading[bool]:
    """Yields deltas of a value as it is written; False if it never ends or its brackets do not match."""
    reader = _scan_value(source)
    while True:
        try:
            piece = next(reader)
        except StopIteration as stop:
            return bool(stop.value)
        if piece != "":
            yield None if piece is None else make(piece)


def _scan_value(source: TextSource) -> _Scan:
    """Yields the pieces of a value."""
    first = yield from source.peek()
    if first in {"{", "["}:
        return (yield from _scan_brackets(source))
    if first == '"':
        yield source.take(1)
        raw = yield from _read_string_rest(source)
        if raw is not None:
            yield raw
        return raw is not None
    scalar = yield from _read_scalar(source)
    if scalar:
        yield scalar
    return bool(scalar)


def _scan_brackets(source: TextSource) -> _Scan:
    opened: list[str] = []
    in_string = False
    while True:
        unread = source.unread
        match = (_INSIDE if in_string else _OUTSIDE).search(unread)
        if match is None or (match.group() == "\\" and match.end() == len(unread)):
            if safe := len(unread) if match is None else match.start():
                yield source.take(safe)
            if not (yield from source.wait()):
                # A lone backslash is all that may be left.
                yield source.take(len(source.unread))
                return False
            continue
        found = match.group()
        if found == "<" or (found in _CLOSERS and opened[-1] != _CLOSERS[found]):
            yield source.take(match.start())
            return False
        yield source.take(match.end() + (found == "\\"))
        if found in _CLOSERS:
            opened.pop()
            if not opened:
                return True
        elif found == '"':
            in_string = not in_string
        elif found != "\\":
            opened.append(found)


def _read_string_rest(source: TextSource) -> Waiting[str | None]:
    """Reads the rest of a string and its closing quote, and returns both as they are written."""
    place = 0
    while True:
        unread = source.unread
        match = _INSIDE.search(unread, place)
        if match is None or (match.group() == "\\" and match.end() == len(unread)):
            place = len(unread) if match is None else match.start()
            if not (yield from source.wait()):
                return None
        elif match.group() == "\\":
            place = match.end() + 1
        else:
            return source.take(match.end())


def _read_scalar(source: TextSource) -> Waiting[str]:
    """Reads up to what ends a number or a word."""
    while True:
        unread = source.unread
        match = _SCALAR_END.search(unread)
        if match is not None:
            return source.take(match.start())
        if not (yield from source.wait()):
            return source.take(len(unread))
