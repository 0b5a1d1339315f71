"""Counting and tiny sums."""

from vllm_local.starter.lexicon import load_lexicon
from vllm_local.starter.skills.messages import Message, exchange
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
    ),
    "heldout": ("Could you count from {0} up to {1}?", "I want you to count from {0} to {1}."),
}
_WORDS = tuple(row["en"] for row in load_lexicon().numerals)
_SUM = {
    "train": (
        "What is {0} {2} {1}?",
        "What's {0} {2} {1}?",
        "what is {0} {2} {1}",
        "How much is {0} {2} {1}?",
        "{0} {2} {1}",
        "{0} {2} {1} = ?",
        "{0}{2}{1}",
        "Calculate {0} {2} {1}.",
        "Compute {0} {2} {1}.",
        "What is {0} {3} {1}?",
        "How much is {0} {3} {1}?",
        "{0} {3} {1}?",
    ),
    "heldout": ("Can you tell me what {0} {2} {1} is?", "Please work out {0} {2} {1}."),
}


def counting(source: Source) -> list[Message]:
    """Return a request to count, up to forty, in steps of one."""
    if source.frames == "train" and source.chance(0.25):
        last = source.rng.randint(2, 20)
        return exchange(f"Count to {last}.", _numbers(1, last))
    if source.frames == "train" and source.chance(0.2):
        last, word = source.rng.choice(list(enumerate(_WORDS, start=2)))
        return exchange(source.rng.choice(("Count to {0}.", "Count from one to {0}.")).format(word), _numbers(1, last))
    first = source.rng.choice((1, 1, source.rng.randint(0, 30)))
    last = first + source.rng.randint(2, 10)
    return exchange(source.rng.choice(_COUNT[source.frames]).format(first, last), _numbers(first, last))


def _numbers(first: int, last: int) -> str:
    return ", ".join(str(number) for number in range(first, last + 1))


def sums(source: Source) -> list[Message]:
    """Return a sum or a difference within twenty."""
    while True:
        first, second = source.rng.randint(0, 20), source.rng.randint(0, 12)
        if not is_held_out_sum(first, second):
            return _sum(source, first, second)


def held_out_sum(source: Source) -> list[Message]:
    """Return the sum of a held-out pair, asked for in a known way."""
    first, second = source.rng.choice(sorted(held_out_sums()))
    return _sum(source, first, second)


def _sum(source: Source, first: int, second: int) -> list[Message]:
    minus = first >= second and source.chance(0.3)
    sign, word = ("-", "minus") if minus else ("+", "plus")
    question = source.rng.choice(_SUM[source.frames]).format(first, second, sign, word)
    return exchange(question, f"{first} {sign} {second} = {first - second if minus else first + second}.")
