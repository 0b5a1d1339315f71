"""Wordings put together from parts, so many that none is learned by heart, and none of them a held-out one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from random import Random

from vllm_local.starter.skills.wordings import plain
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks, read_lines

_GROUP = re.compile(r"\(([^()]*)\)")
_LABEL = re.compile(r"^(?:tell|ask|text|yes|no|clause|system|user|question|say|result): ")
_PLACEHOLDER = re.compile(r"{\w+}")
_LISTS = (
    *("recall", "facts", "instructions", "thinking", "copying", "attributes", "things", "tool_results"),
    *("extraction", "choices", "objects", "tool_calls", "smalltalk", "unknown", "translation"),
)
_TOO_FEW_WORDS = 2
_COMPOSED = 0.65
# How what is no bare request begins.
_NO_REQUEST = ("I ", "I'", "Let ", "You", "Can ", "Could ", "Will ", "It ", "Please ", "please ", "{", "With", "After")
_BARE_LISTS = ("attributes", "things")


def expand(rng: Random, line: str) -> str:
    """Return the line with one of the parts of each "(a|b)", inner ones first."""
    while match := _GROUP.search(line):
        line = line[: match.start()] + rng.choice(match[1].split("|")) + line[match.end() :]
    return line


def part(source: Source, heading: str) -> str:
    """Return one line under a heading of ``train/phrasing.txt``, expanded."""
    return expand(source.rng, source.rng.choice(read_blocks("train/phrasing.txt")[heading]))


def wording(source: Source, file: str, heading: str) -> str:
    """Return one line of ``train/<file>.txt``, expanded; mostly one of those that have parts.

    A backslash and an "n" in a line are a line break.
    """
    lines = read_blocks(f"train/{file}.txt")[heading]
    composed = [line for line in lines if "(" in line]
    line = expand(source.rng, source.rng.choice(composed if composed and source.chance(_COMPOSED) else lines))
    return line.replace("\\n", "\n")


def fill(frame: str, **parts: str) -> str:
    """Return the frame with its placeholders replaced; braces in the parts stay."""
    return _PLACEHOLDER.sub(lambda match: parts.get(match[0][1:-1], match[0]), frame)


def fresh(source: Source, make: Callable[[], str]) -> str:
    """Return the first text made that is no held-out wording; among held-out values any text may be one."""
    while is_held_out(text := make()) and source.values == "train":
        pass
    return text


def is_held_out(text: str) -> bool:
    """Whether the text says what a held-out list says, case, marks and what fills its gaps apart."""
    words = f" {plain(text)} "
    return words.strip() in _short() or any(
        longest in words and pattern.search(words) for longest, pattern in _held_out()
    )


@cache
def _held_out() -> tuple[tuple[str, re.Pattern[str]], ...]:
    found = []
    for line in _lines():
        pieces = [plain(piece) for piece in _PLACEHOLDER.split(line)]
        pattern = r" ?.{1,60}? ?".join(map(re.escape, pieces))
        found.append((max(pieces, key=len), re.compile(rf"\b{pattern}\b")))
    return tuple(found)


@cache
def _short() -> frozenset[str]:
    """Return the held-out lines of one or two words, which a text must not be."""
    lines = (_LABEL.sub("", line) for name in _LISTS for line in read_lines(f"heldout/{name}.txt"))
    return frozenset(plain(line) for line in lines if len(line.split()) <= _TOO_FEW_WORDS and "{" not in line)


def _lines() -> Iterator[str]:
    for name in _LISTS:
        for line in read_lines(f"heldout/{name}.txt"):
            text = _LABEL.sub("", line.partition("|")[0])
            if line.startswith((">", "answer:", "arg:", "opt:")):
                continue
            if name in _BARE_LISTS or len(plain(_PLACEHOLDER.sub(" ", text)).split()) > _TOO_FEW_WORDS:
                yield text


def capitalised(source: Source, text: str, share: float = 0.85) -> str:
    """Return the text with a capital in this share of the cases."""
    return text[0].upper() + text[1:] if source.chance(share) else text


def lowered(text: str) -> str:
    """Return the text with a small first letter, unless it begins with "I" or with what is all capitals."""
    keeps = text.startswith(("I ", "I'")) or text[:2].isupper()
    return text if keeps else text[0].lower() + text[1:]


def ended(source: Source, text: str, mark: str) -> str:
    """Return the text with its mark, or seldom without; a text that ends with a mark keeps it."""
    return text if text[-1] in ".!?" or source.chance(0.1) else text + mark


def introduced(source: Source, text: str, mark: str = "?") -> str:
    """Return a question or a request with an opening, a closing or neither."""
    text = text.rstrip(".?! ")
    if source.chance(0.45):
        text = fill(part(source, "before"), t=lowered(text))
    if source.chance(0.2):
        text = re.sub(r" ,", ",", f"{text} {part(source, 'after')}")
    return ended(source, capitalised(source, text), mark)


def politely(source: Source, request: str) -> str:
    """Return a request for something in other words around it."""
    text = request.rstrip(".!")
    if text.endswith("?") or text.startswith(_NO_REQUEST) or source.chance(0.35):
        return request
    text = re.sub(r" ,", ",", fill(part(source, "polite"), t=lowered(text)))
    return ended(source, capitalised(source, text), ".")
