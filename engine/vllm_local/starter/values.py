"""Values of every kind that a request, a fact or a tool's result may carry.

In training most strings are made up or composed at random, so that nothing but copying solves them.
Held-out values come from the lists under ``data/heldout/``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks, read_lines

FOREIGN_KINDS = ("chinese", "japanese", "accented")
"""Kinds of values that are not in plain Latin letters."""

_STATES = ("CA", "NY", "TX", "WA", "FL", "MA", "IL", "OH", "GA", "CO", "OR", "NV", "AZ", "UT", "MN", "ON", "BC", "QC")
_DOMAINS = ("com", "org", "net", "io", "de", "it", "fr", "es", "co", "eu")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_ACCENTS = "áàâäãåçčéèêëíìîïñóòôöõøúùûüýžşğłœæß"


@dataclass(frozen=True)
class Value:
    """A value as a sentence says it, and as it stands in JSON."""

    text: str
    json: Any


def draw_value(source: Source, kind: str) -> Value:
    """Draw a value.

    Args:
        source: Randomness and lists.
        kind: A key of the table below, such as "name", "city_state" or "amount".

    Raises:
        KeyError: There is no such kind.
    """
    made = _MAKERS[kind](source)
    return made if isinstance(made, Value) else Value(made, made)


def value_kinds() -> tuple[str, ...]:
    """Return every kind."""
    return tuple(_MAKERS)


def listing(items: Sequence[str], last: str = "and") -> str:
    """Return the items as a sentence says them: "a, b and c", or with another word before the last."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def _word(source: Source) -> str:
    if source.values == "heldout":
        return source.rng.choice(read_lines("heldout/words.txt"))
    if source.chance(source.made_up):
        return source.made_up_word()
    return source.rng.choice(read_lines("train/words.txt"))


def _full_name(source: Source) -> str:
    if source.values == "heldout":
        return f"{source.name()} {source.rng.choice(read_lines('heldout/surnames.txt'))}"
    return f"{source.name()} {source.made_up_word().capitalize() if source.chance(0.6) else source.name()}"


def _place(source: Source) -> str:
    place = source.value("places")
    if source.values == "train" and source.chance(0.15):
        return f"{source.rng.choice(('New', 'San', 'Los', 'Saint', 'Port', 'North'))} {place}"
    return place


def _email(source: Source) -> str:
    rng = source.rng
    local = source.name().lower() if source.chance(0.5) else _word(source)
    if source.chance(0.35):
        local += rng.choice("._-") + _word(source)
    if source.chance(0.25):
        local += str(source.rng.randint(1, 99))
    return f"{local}@{_word(source)}.{rng.choice(_DOMAINS)}"


def _words(source: Source, low: int, high: int) -> list[str]:
    return [_word(source) for _ in range(source.rng.randint(low, high))]


def _phrase(source: Source) -> str:
    return " ".join(_words(source, 2, 4))


def _title(source: Source) -> str:
    return " ".join(word.capitalize() for word in _words(source, 2, 4))


def _small(source: Source) -> Value:
    number = source.rng.randint(1, 20)
    return Value(str(number), number)


def _integer(source: Source) -> Value:
    number = source.number()
    if number and source.chance(0.08):
        number = -number
    return Value(str(number), number)


def _amount(source: Source) -> Value:
    whole = source.number() if source.values == "heldout" else source.rng.randrange(10 ** source.rng.randint(1, 4))
    digits = source.rng.choice(("5", "25", "75", "9", "1", str(source.rng.randint(1, 9))))
    number = float(f"{whole}.{digits}")
    return Value(str(number), number)


def _date(source: Source) -> str:
    rng = source.rng
    return f"20{rng.randint(10, 39)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def _time(source: Source) -> str:
    return f"{source.rng.randint(0, 23):02d}:{source.rng.choice((0, 5, 10, 15, 20, 30, 40, 45, 50)):02d}"


def _phone(source: Source) -> str:
    rng = source.rng
    groups = [str(rng.randrange(100, 1000)) for _ in range(rng.randint(2, 3))]
    return rng.choice((f"+{rng.randint(1, 99)} ", "")) + rng.choice(("-", " ")).join(groups)


def _url(source: Source) -> str:
    path = f"/{_word(source)}" if source.chance(0.5) else ""
    return f"https://{source.rng.choice(('', 'www.'))}{_word(source)}.{source.rng.choice(_DOMAINS)}{path}"


def _distinct(source: Source, draw: Callable[[Source], str], low: int, high: int) -> list[str]:
    wanted, items = source.rng.randint(low, high), dict[str, None]()
    while len(items) < wanted:
        items[draw(source)] = None
    return list(items)


def _list_of(draw: Callable[[Source], str]) -> Callable[[Source], Value]:
    def make(source: Source) -> Value:
        items = _distinct(source, draw, 2, 4)
        return Value(listing(items), items)

    return make


def _numbers(source: Source) -> Value:
    numbers = [source.rng.randint(1, 99) for _ in range(source.rng.randint(2, 4))]
    return Value(listing([str(number) for number in numbers]), numbers)


def _characters(source: Source, heading: str, low: int, high: int) -> str:
    characters = "".join(read_blocks("train/foreign.txt")[heading])
    return "".join(source.rng.choice(characters) for _ in range(source.rng.randint(low, high)))


def _foreign(source: Source, heading: str) -> str:
    return source.rng.choice(read_blocks(f"{source.values}/foreign.txt")[heading])


def _chinese(source: Source) -> str:
    if source.values == "heldout" or source.chance(0.2):
        return _foreign(source, "chinese")
    return _characters(source, "chinese characters", 2, 7)


def _japanese(source: Source) -> str:
    if source.values == "heldout" or source.chance(0.2):
        return _foreign(source, "japanese")
    parts = ("hiragana", "katakana", "chinese characters")
    return "".join(_characters(source, source.rng.choice(parts), 1, 4) for _ in range(source.rng.randint(1, 3)))


def _accented(source: Source) -> str:
    if source.values == "heldout" or source.chance(0.25):
        return _foreign(source, "accented")
    return " ".join(_accented_word(source) for _ in range(source.rng.choice((1, 1, 2))))


def _accented_word(source: Source) -> str:
    letters = list(source.made_up_word())
    for _ in range(source.rng.choice((1, 1, 2))):
        letters[source.rng.randrange(len(letters))] = source.rng.choice(_ACCENTS)
    word = "".join(letters)
    return word[0].upper() + word[1:] if source.chance(0.7) else word


def _any_text(source: Source) -> str:
    kinds = ("name", "full_name", "place", "city_state", "email", "word", "word", "phrase", "phrase", "title", "code")
    return draw_value(source, source.rng.choice((*kinds, "date", "accented", "chinese", "japanese"))).text


def _of(kind: str) -> Callable[[Source], str]:
    return lambda source: source.value(kind)


_MAKERS: dict[str, Callable[[Source], str | Value]] = {
    "name": Source.name,
    "full_name": _full_name,
    "place": _place,
    "city_state": lambda source: f"{_place(source)}, {source.rng.choice(_STATES)}",
    "email": _email,
    "word": _word,
    "phrase": _phrase,
    "title": _title,
    "small": _small,
    "integer": _integer,
    "amount": _amount,
    "date": _date,
    "time": _time,
    "weekday": lambda source: source.rng.choice(_WEEKDAYS),
    "month": lambda source: source.rng.choice(_MONTHS),
    "colour": _of("colours"),
    "food": _of("foods"),
    "job": _of("jobs"),
    "code": Source.code,
    "phone": _phone,
    "url": _url,
    "words": _list_of(_word),
    "numbers": _numbers,
    "names": _list_of(Source.name),
    "chinese": _chinese,
    "japanese": _japanese,
    "accented": _accented,
    "any_text": _any_text,
}
