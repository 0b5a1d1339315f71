"""Sentences put together from parts, so that none comes often enough to be learnt by heart."""

from __future__ import annotations

import re
from functools import cache

from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks

_PART = re.compile(r"\[([a-z ]+)(\??)\]")
_PRESENT = 0.35
_CAPITALISED = 0.85
_COMPOSED = 0.8
_SENTENCE_START = re.compile(r"(^|[.?!] |\\n)([a-z])")


def expand(source: Source, file: str, heading: str) -> str:
    """Return a line of a block of ``data/train/<file>.txt`` with its parts put in, lines of other blocks.

    Args:
        source: Randomness.
        file: Name of the list.
        heading: The block to begin with; in its lines "[part]" is a block's name, and "[part?]" is put in sometimes.

    Raises:
        KeyError: There is no such block.
    """
    line = source.rng.choice(read_blocks(f"train/{file}.txt")[heading])

    def drawn(match: re.Match[str]) -> str:
        if match[2] and not source.chance(_PRESENT):
            return ""
        return expand(source, file, match[1])

    return re.sub(" {2,}", " ", _PART.sub(drawn, line)).strip()


def request(source: Source, file: str, heading: str) -> str:
    """Return a way to ask: in training mostly one put together from parts, else a line of the list."""
    if source.frames != "train" or not source.chance(_COMPOSED):
        return source.frame(file, heading)
    line = re.sub(r" *(\\n) *", r"\1", expand(source, "requests", f"{file} {heading}"))
    line = re.sub(r"([.?:]):", r"\1", re.sub(r" +([.,:?])", r"\1", line))
    return _SENTENCE_START.sub(_upper, line) if source.chance(_CAPITALISED) else line


def _upper(match: re.Match[str]) -> str:
    return match[1] + match[2].upper()


def tool_name(source: Source, file: str, thing: str) -> str:
    """Return a name for a tool that does something with a thing, in one of the usual ways to write names."""
    composed = source.frames == "train" and source.chance(_COMPOSED)
    frame = expand(source, "requests", "tool name") if composed else source.frame(file, "tool name")
    verb = source.made_up_word() if source.chance(0.3) else source.rng.choice(vocabulary("verbs"))
    names = {"thing": thing, "Thing": _camel(thing), "verb": verb, "Verb": _camel(verb)}
    for name, word in names.items():
        frame = frame.replace(f"{{{name}}}", word)
    return frame


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


@cache
def vocabulary(heading: str) -> tuple[str, ...]:
    """Return the words of one kind."""
    return tuple(word for line in read_blocks("train/vocabulary.txt")[heading] for word in line.split())
