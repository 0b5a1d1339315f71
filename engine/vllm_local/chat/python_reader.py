"""Python literals read while they arrive, and turned into JSON; JSON's own words and escapes go as well."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Mapping
from typing import TypeAlias

from vllm_local.chat.deltas import Delta
from vllm_local.chat.text_source import Reading, TextSource, Waiting

QUOTES = ("'", '"')
_WORDS: Mapping[str, str] = {
    "True": "true",
    "False": "false",
    "None": "null",
    **{word: word for word in ("true", "false", "null")},
}
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_SCALAR_END = re.compile(r"[\s,:()\[\]{}]")
_ESCAPES: Mapping[str, str] = {"\n": "", **dict(zip("ntrbfav0\\'\"/", "\n\t\r\b\f\a\v\0\\'\"/", strict=True))}
_HEX_ESCAPES: Mapping[str, int] = {"x": 2, "u": 4, "U": 8}
_CLOSERS: Mapping[str, str] = {"[": "]", "(": ")", "{": "}"}
_MAX_DEPTH = 64
_REPLACEMENT = "\ufffd"

_Scan: TypeAlias = Generator[str | None, None, bool]
"""Yields pieces of a text, and None for each wait; returns whether the text is whole."""


def read_python_value(source: TextSource, depth: int = 0) -> Waiting[str | None]:
    """Reads a literal and returns its JSON; None if it is none, never ends or is nested too deeply."""
    first = yield from source.peek()
    if first in _CLOSERS:
        return None if depth == _MAX_DEPTH else (yield from _read_container(source, depth + 1))
    if first not in QUOTES:
        return (yield from _read_scalar(source))
    parts: list[str] = []
    reader = _scan_string(source)
    while True:
        try:
            piece = next(reader)
        except StopIteration as stop:
            return json.dumps("".join(parts), ensure_ascii=False) if stop.value else None
        if piece is None:
            yield None
        else:
            parts.append(piece)


def stream_python_string(source: TextSource, make: Callable[[str], Delta]) -> Reading[bool]:
    """Yields deltas of a string's JSON; False, and no closing quote, if it never ends."""
    yield make('"')
    reader = _scan_string(source)
    while True:
        try:
            piece = next(reader)
        except StopIteration as stop:
            if stop.value:
                yield make('"')
            return bool(stop.value)
        if piece != "":
            yield None if piece is None else make(json.dumps(piece, ensure_ascii=False)[1:-1])


def _read_scalar(source: TextSource) -> Waiting[str | None]:
    while True:
        unread = source.unread
        match = _SCALAR_END.search(unread)
        if match is None and (yield from source.wait()):
            continue
        text = source.take(len(unread) if match is None else match.start())
        if text in _WORDS:
            return _WORDS[text]
        return text if _NUMBER.fullmatch(text) else None


def _read_container(source: TextSource, depth: int) -> Waiting[str | None]:
    """Reads a list, a tuple or a dict."""
    opener = source.take(1)
    closer = _CLOSERS[opener]
    items: list[str] = []
    yield from source.skip_whitespace()
    while not (yield from source.accept(closer)):
        item = yield from read_python_value(source, depth)
        if item is not None and opener == "{":
            item = yield from _read_pair(source, item, depth)
        if item is None:
            return None
        items.append(item)
        yield from source.skip_whitespace()
        if not (yield from source.accept(",")) and not (yield from source.follows(closer)):
            return None
        yield from source.skip_whitespace()
    inside = ", ".join(items)
    return f"{{{inside}}}" if opener == "{" else f"[{inside}]"


def _read_pair(source: TextSource, key: str, depth: int) -> Waiting[str | None]:
    """Reads what follows a key; keys that are no texts become texts."""
    yield from source.skip_whitespace()
    if not (yield from source.accept(":")):
        return None
    yield from source.skip_whitespace()
    value = yield from read_python_value(source, depth)
    if value is None or key[0] in "[{":
        return None
    return f"{key if key.startswith(QUOTES[1]) else json.dumps(key)}: {value}"


def _scan_string(source: TextSource) -> _Scan:
    """Yields what a string says, piece by piece; returns whether it ends."""
    quote = source.take(1)
    stops = re.compile(rf"[\\{quote}]")
    while True:
        unread = source.unread
        match = stops.search(unread)
        if safe := len(unread) if match is None else match.start():
            yield source.take(safe)
        if match is None:
            if not (yield from source.wait()):
                return False
        elif match.group() == quote:
            source.take(1)
            return True
        else:
            escaped = yield from _read_escape(source)
            if escaped is None:
                return False
            yield escaped


def _read_escape(source: TextSource) -> Waiting[str | None]:
    """Reads an escape and returns its character; None at the end."""
    while len(source.unread) < 2:
        if not (yield from source.wait()):
            return None
    kind = source.take(2)[1]
    if kind not in _HEX_ESCAPES:
        return _ESCAPES.get(kind, f"\\{kind}")
    code = yield from _read_hex(source, _HEX_ESCAPES[kind])
    if code is None:
        return f"\\{kind}"
    if 0xD800 <= code < 0xDC00 and (yield from source.accept("\\u")):
        low = yield from _read_hex(source, 4)
        if low is not None and 0xDC00 <= low < 0xE000:
            return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00))
        return _REPLACEMENT
    return _REPLACEMENT if 0xD800 <= code < 0xE000 or code > 0x10FFFF else chr(code)


def _read_hex(source: TextSource, count: int) -> Waiting[int | None]:
    """Reads so many hexadecimal digits; None, with nothing read, if there are fewer."""
    while len(source.unread) < count:
        if not (yield from source.wait()):
            return None
    digits = source.unread[:count]
    if not re.fullmatch("[0-9a-fA-F]+", digits):
        return None
    return int(source.take(count), 16)
