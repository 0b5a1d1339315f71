"""The translation lexicon: every word with its forms in five languages."""

from dataclasses import dataclass
from functools import cache

from vllm_local.starter.tables import read_rows

LANGUAGES = ("it", "de", "fr", "es")
LANGUAGE_NAMES = {"it": "Italian", "de": "German", "fr": "French", "es": "Spanish"}
Forms = dict[str, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Noun:
    """A noun; ``forms[language]`` is (singular, gender, plural), in English (singular, plural)."""

    key: str
    tags: frozenset[str]
    forms: Forms

    @property
    def is_mass(self) -> bool:
        """Whether the noun has no plural and takes no indefinite article."""
        return self.forms["en"][1] == "-"


@dataclass(frozen=True, eq=False)
class Adjective:
    """An adjective; the cells of ``forms`` are explained in ``data/lexicon/adjectives.txt``."""

    key: str
    tags: frozenset[str]
    forms: Forms


@dataclass(frozen=True, eq=False)
class Verb:
    """A verb; ``forms[language]`` is the infinitive, with five present forms where irregular."""

    key: str
    tags: frozenset[str]
    forms: Forms


@dataclass(frozen=True, eq=False)
class Adverbial:
    """An adverbial of time, of place or of direction (``goal``)."""

    key: str
    kind: str
    text: dict[str, str]


@dataclass(frozen=True, eq=False)
class Lexicon:
    """All word lists."""

    nouns: tuple[Noun, ...]
    adjectives: tuple[Adjective, ...]
    verbs: tuple[Verb, ...]
    activities: tuple[Verb, ...]
    adverbials: tuple[Adverbial, ...]
    cities: tuple[dict[str, str], ...]
    tongues: tuple[dict[str, str], ...]
    phrases: tuple[dict[str, str], ...]
    numerals: tuple[dict[str, str], ...]


def _forms(first: tuple[str, ...], cells: tuple[str, ...], separator: str) -> Forms:
    split = {lang: tuple(cell.split(separator)) for lang, cell in zip(LANGUAGES, cells, strict=True)}
    return {"en": first, **split}


def _texts(name: str) -> tuple[dict[str, str], ...]:
    return tuple(dict(zip(("en", *LANGUAGES), row, strict=True)) for row in read_rows(f"lexicon/{name}.txt"))


def _nouns() -> tuple[Noun, ...]:
    rows = read_rows("lexicon/nouns.txt")
    return tuple(
        Noun(row[0].split(",")[0], frozenset(row[1].split()), _forms(tuple(row[0].split(",")), row[2:], ","))
        for row in rows
    )


def _adjectives() -> tuple[Adjective, ...]:
    rows = read_rows("lexicon/adjectives.txt")
    return tuple(Adjective(row[0], frozenset(row[1].split()), _forms((row[0],), row[2:], ",")) for row in rows)


def _verbs() -> tuple[Verb, ...]:
    rows = read_rows("lexicon/verbs.txt")
    return tuple(
        Verb(row[0].split(",")[0], frozenset(row[1].split()), _forms(tuple(row[0].split(",")), row[2:], " "))
        for row in rows
    )


def _activities() -> tuple[Verb, ...]:
    rows = read_rows("lexicon/activities.txt")
    return tuple(Verb(row[0], frozenset({"activity"}), _forms((row[0],), row[1:], ",")) for row in rows)


def _adverbials() -> tuple[Adverbial, ...]:
    rows = read_rows("lexicon/adverbials.txt")
    return tuple(Adverbial(row[1], row[0], dict(zip(("en", *LANGUAGES), row[1:], strict=True))) for row in rows)


@cache
def load_lexicon() -> Lexicon:
    """Read the word lists once."""
    return Lexicon(
        nouns=_nouns(),
        adjectives=_adjectives(),
        verbs=_verbs(),
        activities=_activities(),
        adverbials=_adverbials(),
        cities=_texts("cities"),
        tongues=_texts("tongues"),
        phrases=_texts("phrases"),
        numerals=_texts("numerals"),
    )
