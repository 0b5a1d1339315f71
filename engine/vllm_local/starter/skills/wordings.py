"""Other wordings of a line: openings, tails, case and punctuation that do not change what is asked."""

from __future__ import annotations

import re
from functools import cache
from random import Random

from vllm_local.starter.tables import read_blocks

_QUESTION = re.compile(r"(What|Who|Which|How|Are|Do|Did|Can|Is|Where|Am|Why|When|Should)\b(?!.*[.?!] )")
_REQUEST = re.compile(r"(Tell|Write|Give|Introduce|Describe|Make|Explain|Compare|Summarize|List)\b(?!.*[.?!] )")
_BEFORE_QUESTION = (
    "So, {0}",
    "So {0}",
    "Hey, {0}",
    "And {0}",
    "OK, {0}",
    "OK, so {0}",
    "Well, {0}",
    "Now, {0}",
    "Tell me, {0}",
    "Please tell me: {0}",
    "Just tell me: {0}",
    "One question: {0}",
    "A question: {0}",
    "By the way, {0}",
    "I have a question: {0}",
    "I want to ask: {0}",
    "Excuse me, {0}",
    "But {0}",
    "Hm, {0}",
    "Dear assistant, {0}",
)
_AROUND_REQUEST = (
    "Please {0}.",
    "please {0}",
    "Can you {0}?",
    "Could you {0}?",
    "Could you please {0}?",
    "Can you please {0}?",
    "Would you {0}?",
    "Will you {0}?",
    "Hey, {0}.",
    "OK, {0}.",
    "Now {0}.",
    "So, {0}.",
    "I want you to {0}.",
    "I would like you to {0}.",
    "You should {0}.",
    "{0}, please.",
    "{0} please",
    "{0} now.",
)


@cache
def _held_out() -> frozenset[str]:
    blocks = (read_blocks(f"heldout/{name}.txt") for name in ("smalltalk", "unknown"))
    return frozenset(plain(line) for block in blocks for lines in block.values() for line in lines)


def plain(text: str) -> str:
    """Return the words alone, in lower case."""
    return re.sub(r"[^\w{}]+", " ", text.lower()).strip()


def reword(rng: Random, text: str, share: float = 0.45) -> str:
    """Return the line with another opening, tail, case or punctuation; never one with a held-out line."""
    reworded = _punctuate(rng, _compose(rng, text) if rng.random() < share else text)
    words = f" {plain(reworded)} "
    return text if any(f" {line} " in words for line in _held_out()) else reworded


def _compose(rng: Random, text: str) -> str:
    if _QUESTION.match(text):
        return rng.choice(_BEFORE_QUESTION).format(_lower(text))
    if _REQUEST.match(text):
        frames = [frame for frame in _AROUND_REQUEST if "ould" not in frame or " about " not in text]
        composed = rng.choice(frames).format(_lower(text).rstrip(".!?"))
        return composed[0].upper() + composed[1:] if rng.random() < 0.9 else composed
    return text


def _punctuate(rng: Random, text: str) -> str:
    kind = rng.random()
    if kind < 0.08:
        return text.rstrip(".!?") or text
    if kind < 0.14:
        return text.lower()
    if kind < 0.17 and text.endswith("."):
        return text[:-1] + "!"
    return text


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
