"""Abstract syntax of the sentences: what is said, before any language says it."""

from dataclasses import dataclass

from vllm_local.starter.lexicon import Adjective, Adverbial, Noun, Verb

PRONOUNS = ("I", "you", "he", "she", "we", "they")
POSSESSIVES = ("my", "your", "his", "her", "our", "their")
MODALS = ("can", "must", "want")


@dataclass(frozen=True)
class NounPhrase:
    """A noun with its determiner.

    ``determiner`` is "the", "a", "" (mass nouns and bare plurals), a possessive, or an English numeral.
    """

    noun: Noun
    determiner: str
    plural: bool = False
    adjective: Adjective | None = None


@dataclass(frozen=True)
class Pronoun:
    """A personal pronoun as a subject."""

    key: str


@dataclass(frozen=True)
class Name:
    """A proper name as a subject; it is copied."""

    text: str


Subject = Pronoun | Name | NounPhrase


def person_of(subject: Subject) -> int:
    """Return 0 (I), 1 (you), 2 (third singular), 3 (we) or 4 (third plural)."""
    if isinstance(subject, Pronoun):
        return {"I": 0, "you": 1, "he": 2, "she": 2, "we": 3, "they": 4}[subject.key]
    return 4 if isinstance(subject, NounPhrase) and subject.plural else 2


@dataclass(frozen=True)
class Action:
    """Subject, verb, object and adverbials, in the present tense."""

    subject: Subject
    verb: Verb
    object: NounPhrase | None = None
    time: Adverbial | None = None
    place: Adverbial | None = None
    modal: str | None = None
    negated: bool = False
    question: bool = False


@dataclass(frozen=True)
class Taste:
    """Somebody loves or likes an activity or a kind of thing."""

    subject: Subject
    verb: str
    liked: Verb | NounPhrase


@dataclass(frozen=True)
class State:
    """Subject is adjective."""

    subject: Subject
    adjective: Adjective
    question: bool = False
    negated: bool = False


@dataclass(frozen=True)
class Going:
    """Somebody goes somewhere, or lives in a city."""

    subject: Subject
    goal: Adverbial | None = None
    city: dict[str, str] | None = None
    time: Adverbial | None = None
    question: bool = False


@dataclass(frozen=True)
class Speaking:
    """Somebody speaks a language."""

    subject: Subject
    tongue: dict[str, str]
    question: bool = False
    negated: bool = False


@dataclass(frozen=True)
class Being:
    """Subject is in some place."""

    subject: Subject
    place: Adverbial
    time: Adverbial | None = None
    question: bool = False
    negated: bool = False


@dataclass(frozen=True)
class Where:
    """Where is the thing?"""

    thing: NounPhrase


@dataclass(frozen=True)
class There:
    """There is a thing in some place."""

    thing: NounPhrase
    place: Adverbial


@dataclass(frozen=True)
class This:
    """This is my thing."""

    thing: NounPhrase


@dataclass(frozen=True)
class Wish:
    """I would like a thing, please."""

    thing: NounPhrase


@dataclass(frozen=True)
class Called:
    """My name is such and such."""

    name: str
    owner: NounPhrase | None = None


@dataclass(frozen=True)
class Phrase:
    """A fixed phrase of the phrase book, with the English variant that was chosen."""

    english: str
    text: dict[str, str]


Sentence = Action | Taste | State | Going | Speaking | Being | Where | There | This | Wish | Called | Phrase
