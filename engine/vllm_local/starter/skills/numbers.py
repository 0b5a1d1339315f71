"""Counting and tiny sums."""

from __future__ import annotations

from vllm_local.starter.lexicon import load_lexicon
from vllm_local.starter.skills.messages import Message, exchange
from vllm_local.starter.skills.phrasing import fresh, introduced, politely, wording
from vllm_local.starter.skills.wordings import plain
from vllm_local.starter.source import Source, held_out_sums, is_held_out_sum

_COUNT = {
    "train": (
        "Count from {0} to {1}.",
        "Count from {0} to {1}",
        "Please count from {0} to {1}.",
        "Can you count from {0} to {1}?",
        "count from {0} to {1}",
        "List the numbers from {0} to {1}.",
        "Write the numbers from {0} to {1}.",
        "Write all numbers from {0} to {1}.",
        "Say the numbers from {0} to {1}.",
        "Count for me from {0} to {1}.",
        "Count up from {0} to {1}.",
        "Start at {0} and count to {1}.",
        "Give me the numbers from {0} to {1}.",
        "The numbers from {0} to {1}, please.",
        "Hey, count from {0} to {1}!",
    ),
    "heldout": ("Could you count from {0} up to {1}?", "I want you to count from {0} to {1}."),
}
_WORDS = tuple(row["en"] for row in load_lexicon().numerals)
_SIGN_WORDS = {"+": "plus", "-": "minus"}


def counting(source: Source) -> list[Message]:
    """Return a request to count, up to forty, in steps of one; in training one to three requests."""
    if source.frames == "heldout":
        return _count(source)
    return [turn for _ in range(source.rng.choice((1, 1, 2, 3))) for turn in _count(source)]


def _count(source: Source) -> list[Message]:
    if source.frames == "train" and source.chance(0.25):
        last = source.rng.randint(2, 20)
        return exchange(f"Count to {last}.", count_up(1, last))
    if source.frames == "train" and source.chance(0.2):
        last, word = source.rng.choice(list(enumerate(_WORDS, start=2)))
        return exchange(source.rng.choice(("Count to {0}.", "Count from one to {0}.")).format(word), count_up(1, last))
    first = source.rng.choice((1, 1, source.rng.randint(0, 30)))
    last = first + source.rng.randint(2, 10)
    question = source.rng.choice(_COUNT[source.frames]).format(first, last)
    if source.frames == "train":
        asked = fresh(source, lambda: politely(source, question))
        held_out = any(plain(frame.format(first, last)) in plain(asked) for frame in _COUNT["heldout"])
        question = question if held_out else asked
    return exchange(question, count_up(first, last))


def count_up(first: int, last: int) -> str:
    """Return the numbers from the first to the last."""
    return ", ".join(str(number) for number in range(first, last + 1))


def sums(source: Source) -> list[Message]:
    """Return sums and differences that can be known by heart; seldom bigger ones."""
    return [turn for _ in range(source.rng.choice((1, 1, 2, 3, 4))) for turn in one_sum(source)]


def one_sum(source: Source) -> list[Message]:
    """Return one such sum."""
    while True:
        sign = "-" if source.chance(0.35) else "+"
        first, second = source.rng.randint(0, 20 if sign == "-" else 10), source.rng.randint(0, 10)
        if source.chance(0.06):
            first, second = source.rng.randint(0, 60), source.rng.randint(0, 30)
        if not is_held_out_sum(first, second) and (sign == "+" or first >= second):
            return _sum(source, first, sign, second)


def held_out_sum(source: Source) -> list[Message]:
    """Return the sum of a held-out pair of the size that training knows by heart, asked for in a known way."""
    pairs = sorted((first, second) for first, second in held_out_sums() if max(first, second) <= 10)
    first, second = source.rng.choice(pairs)
    return _sum(source, first, "-" if first >= second and source.chance(0.3) else "+", second)


def _sum(source: Source, first: int, sign: str, second: int) -> list[Message]:
    return exchange(ask_sum(source, (first, second), sign), solution((first, second), sign))


def ask_sum(source: Source, terms: tuple[int, ...], sign: str) -> str:
    """Return a question for the sum, or the difference, of the terms."""
    if source.frames == "train":
        return fresh(source, lambda: _around(source, _ask_sum(source, terms, sign)))
    return _ask_sum(source, terms, sign)


def _around(source: Source, asked: str) -> str:
    return introduced(source, asked, asked[-1] if asked[-1] in ".!" else "?") if source.chance(0.5) else asked


def _ask_sum(source: Source, terms: tuple[int, ...], sign: str) -> str:
    if len(terms) == 2 and source.chance(0.2):
        return _frame(source, f"sum {sign}").format(a=terms[0], b=terms[1])
    operator = source.rng.choices((f" {sign} ", sign, f" {_SIGN_WORDS[sign]} "), (60, 12, 28))[0]
    return _frame(source, "sum").format(e=operator.join(map(str, terms)))


def _frame(source: Source, heading: str) -> str:
    return wording(source, "thinking", heading) if source.frames == "train" else source.frame("thinking", heading)


def solution(terms: tuple[int, ...], sign: str) -> str:
    """Return the answer to a sum, such as "7 + 5 = 12."."""
    result = terms[0] - terms[1] if sign == "-" else sum(terms)
    return f"{f' {sign} '.join(map(str, terms))} = {result}."
