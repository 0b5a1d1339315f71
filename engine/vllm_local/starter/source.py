"""What the skills draw their words from: the training lists, or the held-out ones."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from random import Random

from vllm_local.starter.sampler import PLAIN, RICH, TRAIN, SentenceSampler, Split
from vllm_local.starter.tables import read_blocks, read_lines, read_rows

_CONSONANTS = "bcdfghjklmnprstvwz"
_VOWELS = "aeiou"


@cache
def held_out_numbers() -> frozenset[int]:
    """Return the numbers that training never remembers."""
    return frozenset(int(line) for line in read_lines("heldout/numbers.txt"))


@cache
def held_out_sums() -> frozenset[tuple[int, int]]:
    """Return the pairs of numbers that training never adds or subtracts."""
    pairs = (line.split() for line in read_lines("heldout/sums.txt"))
    return frozenset((int(first), int(second)) for first, second in pairs)


def is_held_out_sum(first: int, second: int) -> bool:
    """Whether "first + second" is, or starts with, a held-out pair."""
    return any(first == a and str(second).startswith(str(b)) for a, b in held_out_sums())


@dataclass
class Source:
    """Randomness and word lists.

    Args:
        rng: Source of randomness.
        frames: "train" or "heldout": which ways to ask.
        values: "train" or "heldout": which names, numbers and words to copy.
        sentences: Which sentences to translate.
        made_up: Share of made-up words among the names in training.
        room: Tokens that a conversation may take, about.
    """

    rng: Random
    frames: str = "train"
    values: str = "train"
    sentences: Split = TRAIN
    made_up: float = 0.5
    room: int = 256
    sampler: SentenceSampler = field(init=False)

    def __post_init__(self) -> None:
        self.sampler = SentenceSampler(self.rng, self.sentences, self.name, RICH if self.values == "train" else PLAIN)

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.rng.random() < probability

    def frame(self, file: str, heading: str) -> str:
        """Return one line under a heading of ``data/<frames>/<file>.txt``."""
        return self.rng.choice(read_blocks(f"{self.frames}/{file}.txt")[heading])

    def name(self) -> str:
        """Return a first name; in training half of them are made up."""
        if self.values == "train" and self.chance(self.made_up):
            return self.made_up_word().capitalize()
        return self.rng.choice(read_lines(f"{self.values}/names.txt"))

    def any_word(self) -> str:
        """Return a word for training: plain English, or one that means nothing."""
        return self.rng.choice(read_lines("train/words.txt")) if self.chance(0.55) else self.made_up_word()

    def made_up_word(self) -> str:
        """Return a pronounceable word that means nothing and is no held-out word."""
        while True:
            word = self._crossed() if self.chance(0.5) else self._syllables()
            if len(word) > 2 and not {word, f"{word}s"} & _held_out_words():
                return word

    def _crossed(self) -> str:
        """Return the head of one English word with the tail of another, so that any two pieces may meet."""
        head, tail = (self.rng.choice(read_lines("train/words.txt")) for _ in range(2))
        return head[: self.rng.randint(1, len(head))] + tail[self.rng.randrange(len(tail)) :]

    def _syllables(self) -> str:
        return "".join(self._syllable() for _ in range(self.rng.choice((1, 2, 2, 2, 3, 3, 4))))

    def _syllable(self) -> str:
        rng = self.rng
        onset = rng.choice(_CONSONANTS) if rng.random() < 0.9 else ""
        if rng.random() < 0.12:
            onset = rng.choice(("br", "tr", "st", "ch", "sh", "gr", "pl", "fl", "th", "qu", "dr", "ph"))
        coda = rng.choice("nrlstmk") if rng.random() < 0.3 else ""
        return onset + rng.choice(_VOWELS) + coda

    def number(self) -> int:
        """Return a number of one to six digits."""
        if self.values == "heldout":
            return self.rng.choice(sorted(held_out_numbers()))
        while True:
            number = self.rng.randrange(10 ** self.rng.randint(1, 6))
            if number not in held_out_numbers():
                return number

    def code(self) -> str:
        """Return a code such as "QX-482"."""
        letters = "".join(self.rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(self.rng.randint(1, 3)))
        return f"{letters}{self.rng.choice(('', '-', ' '))}{self.number()}"

    def value(self, kind: str) -> str:
        """Return a value of a kind that ``recall.txt`` names."""
        makers: dict[str, Callable[[], str]] = {
            "names": self.name,
            "numbers": lambda: str(self.number()),
            "codes": self.code,
            "ages": lambda: str(self._age()),
        }
        if kind in makers:
            return makers[kind]()
        if self.values == "train" and kind == "places" and self.chance(self.made_up):
            return self.made_up_word().capitalize()
        return self.rng.choice(read_blocks(f"{self.values}/values.txt")[kind])

    def _age(self) -> int:
        while True:
            age = self.rng.randint(3, 99)
            if (age in held_out_numbers()) == (self.values == "heldout"):
                return age


@cache
def _held_out_words() -> frozenset[str]:
    """Return every word of every held-out list, in small letters."""
    folder = files(__package__) / "data" / "heldout"
    texts = (path.read_text(encoding="utf-8").lower() for path in folder.iterdir())
    return frozenset(word for text in texts for word in re.findall(r"[^\W\d_]+", text))


@cache
def capitals() -> tuple[tuple[str, ...], ...]:
    """Return the (country, capital) pairs."""
    return read_rows("train/capitals.txt")
