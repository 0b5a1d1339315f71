"""Random sentences, split into training sentences and held-out ones.

Two things are held out: a tenth of the (predicate, noun) pairs, chosen by a hash, and the pairs of
sentence features listed in ``data/heldout/shapes.txt``.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from vllm_local.starter.lexicon import Adjective, Adverbial, Lexicon, Noun, Verb, load_lexicon
from vllm_local.starter.syntax import (
    MODALS,
    POSSESSIVES,
    PRONOUNS,
    Action,
    Being,
    Called,
    Going,
    Name,
    NounPhrase,
    Phrase,
    Pronoun,
    Sentence,
    Speaking,
    State,
    Subject,
    Taste,
    There,
    This,
    Where,
    Wish,
)
from vllm_local.starter.tables import read_lines

_STATIVE = frozenset({"have", "want", "know", "love", "see", "find", "hear"})
_THINGS = frozenset({"thing", "animal", "clothes", "text", "food", "building"})
_PLACES = frozenset({"place", "building"})
_ATTRIBUTES = {
    "thing": ("colour", "size", "thing"),
    "clothes": ("colour", "size", "thing"),
    "opens": ("colour", "size"),
    "building": ("colour", "size", "thing"),
    "place": ("size", "thing"),
    "animal": ("beast",),
    "person": ("human",),
    "food": ("size",),
}
_PREDICATES = {
    "thing": ("colour", "size", "thing", "state"),
    "clothes": ("colour", "size", "thing", "state"),
    "opens": ("shut", "state"),
    "building": ("size", "thing", "state"),
    "place": ("shut", "size", "thing"),
    "animal": ("beast",),
    "person": ("feeling", "human"),
    "family": ("feeling", "human"),
    "eat": ("taste",),
    "drink": ("taste",),
}
# Words that would lose their only partner in training if the hash held it out.
_ALWAYS_SEEN = frozenset({("love", "programming"), ("listen to", "music")})
# What is loved has "like" for its only other partner, so that one is always seen.
_SEEN_TASTE = "like"
T = TypeVar("T")


@dataclass(frozen=True)
class Split:
    """Which sentences a sampler may make.

    ``pairs`` and ``shapes``: False excludes the held-out ones, True asks for at least one held-out.
    """

    pairs: bool = False
    shapes: bool = False


TRAIN = Split()
HELD_OUT_PAIRS = Split(pairs=True)
HELD_OUT_SHAPES = Split(shapes=True)


@dataclass(frozen=True)
class Rates:
    """How often a sentence about an action is drawn, as a weight among those of other kinds, and what it then has."""

    action: float
    modal: float
    time: float
    place: float
    negated: float
    question: float
    adjective: float


PLAIN = Rates(action=44, modal=0.15, time=0.3, place=0.15, negated=0.15, question=0.13, adjective=0.3)
# For training: many features in one sentence, from which combinations are learned that it never has.
RICH = Rates(action=64, modal=0.3, time=0.38, place=0.3, negated=0.3, question=0.22, adjective=0.45)


def is_held_out_pair(predicate: str, word: str) -> bool:
    """Whether the two words never meet in a training sentence."""
    digest = hashlib.sha256(f"{predicate}+{word}".encode()).digest()
    return digest[0] % 10 == 3


def _phrase_pairs(phrase: NounPhrase) -> list[tuple[str, str]]:
    return [(phrase.adjective.key, phrase.noun.key)] if phrase.adjective else []


def pairs_of(sentence: Sentence) -> list[tuple[str, str]]:
    """Return the (predicate, noun) pairs that the sentence combines."""
    pairs: list[tuple[str, str]] = []
    subject = getattr(sentence, "subject", None)
    head = subject.noun.key if isinstance(subject, NounPhrase) else ""
    if isinstance(sentence, Action):
        if sentence.object:
            pairs += [(sentence.verb.key, sentence.object.noun.key), *_phrase_pairs(sentence.object)]
        if head:
            pairs.append((sentence.verb.key, head))
    elif isinstance(sentence, State) and head:
        pairs.append((sentence.adjective.key, head))
    elif isinstance(sentence, Taste):
        liked = sentence.liked
        pairs.append((sentence.verb, liked.noun.key if isinstance(liked, NounPhrase) else liked.key))
    elif isinstance(sentence, Where | There | This | Wish):
        pairs += [(type(sentence).__name__, sentence.thing.noun.key), *_phrase_pairs(sentence.thing)]
    return [pair for pair in pairs if pair not in _ALWAYS_SEEN and pair[0] != _SEEN_TASTE]


def features_of(sentence: Sentence) -> frozenset[str]:
    """Return the features that held-out shapes are made of."""
    names = ("time", "place", "modal", "negated", "question")
    features = {name for name in names if isinstance(sentence, Action) and getattr(sentence, name)}
    if isinstance(sentence, Action) and sentence.object and sentence.object.adjective:
        features.add("adjective")
    return frozenset(features)


def has_held_out_pair(sentence: Sentence) -> bool:
    """Whether the sentence combines two words that training keeps apart."""
    return any(is_held_out_pair(*pair) for pair in pairs_of(sentence))


def has_held_out_shape(sentence: Sentence) -> bool:
    """Whether the sentence has a combination of features that training never shows."""
    features = features_of(sentence)
    return any(features >= set(line.split()) for line in read_lines("heldout/shapes.txt"))


class SentenceSampler:
    """Draws sentences of one split.

    Args:
        rng: Source of randomness.
        split: Which sentences are allowed.
        name: Draws a proper name.
        rates: How often sentences have what.
    """

    def __init__(self, rng: Random, split: Split, name: Callable[[], str], rates: Rates = PLAIN) -> None:
        self._rng = rng
        self._split = split
        self._name = name
        self._rates = rates
        self._lexicon: Lexicon = load_lexicon()

    def draw(self) -> Sentence:
        """Return one sentence of the split."""
        while True:
            sentence = self._any()
            if has_held_out_pair(sentence) == self._split.pairs and (
                has_held_out_shape(sentence) == self._split.shapes
            ):
                return sentence

    def noun_phrase(self) -> NounPhrase:
        """Return a noun phrase that stands alone."""
        while True:
            phrase = self._thing(_THINGS | _PLACES, ("the", "a", "my"))
            if any(is_held_out_pair(*pair) for pair in _phrase_pairs(phrase)) == self._split.pairs:
                return phrase

    def _any(self) -> Sentence:
        makers: tuple[tuple[float, Callable[[], Sentence]], ...] = (
            (self._rates.action, self._action),
            (12, self._taste),
            (13, self._state),
            (6, self._going),
            (3, self._speaking),
            (7, self._being),
            (4, self._where),
            (4, self._there),
            (4, self._this),
            (4, self._wish),
            (3, self._called),
            (9, self._phrase),
        )
        if self._split.shapes:
            return self._action()
        weights = [weight for weight, _ in makers]
        return self._rng.choices([maker for _, maker in makers], weights)[0]()

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability

    def _nouns(self, tags: frozenset[str] | set[str]) -> list[Noun]:
        return [noun for noun in self._lexicon.nouns if noun.tags & tags]

    def _pick(self, items: Sequence[T]) -> T:
        return self._rng.choice(items)

    def _adjective(self, noun: Noun, table: dict[str, tuple[str, ...]]) -> Adjective | None:
        wanted = {tag for key in noun.tags for tag in table.get(key, ())}
        fitting = [adjective for adjective in self._lexicon.adjectives if adjective.tags & wanted]
        return self._pick(fitting) if fitting else None

    def _thing(self, tags: frozenset[str] | set[str], determiners: tuple[str, ...]) -> NounPhrase:
        """Draw a noun phrase as an object or alone."""
        noun = self._pick(self._nouns(tags))
        if noun.is_mass:
            return NounPhrase(noun, "")
        if "family" in noun.tags or ("mine" in noun.tags and self._chance(0.7)):
            return NounPhrase(noun, self._pick(POSSESSIVES))
        plural = "plonly" in noun.tags or ("nopl" not in noun.tags and self._chance(0.22))
        determiner = self._pick(determiners)
        if determiner == "my":
            stranger = "person" in noun.tags and "mine" not in noun.tags
            determiner = "the" if stranger else self._pick(POSSESSIVES)
        adjective = self._adjective(noun, _ATTRIBUTES) if self._chance(self._rates.adjective) else None
        if plural and determiner == "a":
            determiner = self._pick(self._lexicon.numerals)["en"] if self._chance(0.6) else ""
            adjective = None if determiner == "" else adjective
        return NounPhrase(noun, determiner, plural, adjective)

    def _subject(self, human: bool = True) -> Subject:
        chance = self._rng.random()
        if chance < 0.55:
            return Pronoun(self._pick(PRONOUNS))
        if chance < 0.68:
            return Name(self._name())
        noun = self._pick(self._nouns({"person", "family"} if human else {"animal", "person", "family"}))
        determiner = "the" if not noun.tags & {"family", "mine"} else self._pick(POSSESSIVES)
        plural = not noun.tags & {"one", "nopl"} and self._chance(0.2)
        return NounPhrase(noun, determiner, plural)

    def _adverbial(self, *kinds: str) -> Adverbial:
        return self._pick([adverbial for adverbial in self._lexicon.adverbials if adverbial.kind in kinds])

    def _object(self, verb: Verb) -> NounPhrase | None:
        if verb.tags == {"-"}:
            return None
        determiners: tuple[str, ...] = ("my",) if "family" in verb.tags and verb.key == "love" else ("the", "a", "my")
        if verb.key in ("know", "visit", "hear", "clean", "close", "look for"):
            determiners = ("the", "my")
        phrase = self._thing(verb.tags, determiners)
        if phrase.noun.tags & {"person"} and phrase.determiner not in ("the", *POSSESSIVES):
            return NounPhrase(phrase.noun, "the", False, phrase.adjective)
        return phrase

    def _action(self) -> Action:
        rates = self._rates
        verb = self._pick(self._lexicon.verbs)
        if verb.tags == {"-"} and self._chance(0.3):
            verb = self._pick(self._lexicon.verbs)
        eats = verb.key in ("sleep", "run", "eat", "drink", "see", "wait")
        stative = verb.key in _STATIVE
        modal = self._pick(MODALS) if not stative and self._chance(rates.modal) else None
        time = self._adverbial("time") if not stative and self._chance(rates.time) else None
        can_have_place = not stative and verb.key != "arrive"
        place = self._adverbial("place") if can_have_place and self._chance(rates.place) else None
        thing = self._object(verb)
        if place and thing and thing.noun.tags & (_PLACES | {"opens"}):
            place = None
        negated = self._chance(rates.negated) and modal != "must" and (time is None or time.key != "often")
        if thing and thing.determiner not in ("the", "a", "", *POSSESSIVES):
            negated = False
        return Action(
            self._subject(not eats),
            verb,
            thing,
            time,
            place,
            modal,
            negated,
            not negated and modal != "must" and self._chance(rates.question),
        )

    def _taste(self) -> Taste:
        verb = self._pick(("love", "like"))
        subject = self._subject()
        if isinstance(subject, NounPhrase) and subject.plural:
            subject = Pronoun("they")
        if self._chance(0.6):
            return Taste(subject, verb, self._pick(self._lexicon.activities))
        noun = self._pick(self._nouns({"eat", "drink", "art", "animal", "food", "text", "thing"}))
        countable = not noun.is_mass and "nopl" not in noun.tags
        return Taste(subject, verb, NounPhrase(noun, "", countable))

    def _state(self) -> State:
        question = self._chance(0.15)
        negated = not question and self._chance(0.15)
        if self._chance(0.45):
            feelings = [item for item in self._lexicon.adjectives if item.tags & {"feeling", "human"}]
            return State(Pronoun(self._pick(PRONOUNS)), self._pick(feelings), question, negated)
        noun = self._pick([noun for noun in self._lexicon.nouns if noun.tags & set(_PREDICATES)])
        plural = not noun.is_mass and ("plonly" in noun.tags or (not noun.tags & {"one", "nopl"} and self._chance(0.2)))
        determiner = "the" if "family" not in noun.tags and self._chance(0.7) else self._pick(POSSESSIVES)
        if noun.is_mass or "place" in noun.tags:
            determiner = "the"
        adjective = self._adjective(noun, _PREDICATES)
        assert adjective is not None
        return State(NounPhrase(noun, determiner, plural), adjective, question, negated)

    def _going(self) -> Going:
        question = self._chance(0.15)
        if self._chance(0.4):
            return Going(self._subject(), city=self._pick(self._lexicon.cities), question=question)
        time = self._adverbial("time") if self._chance(0.4) else None
        return Going(self._subject(), self._adverbial("goal"), None, time, question)

    def _speaking(self) -> Speaking:
        question = self._chance(0.35)
        negated = not question and self._chance(0.2)
        return Speaking(self._subject(), self._pick(self._lexicon.tongues), question, negated)

    def _being(self) -> Being:
        subject: Subject = self._subject()
        if self._chance(0.4):
            movable = [noun for noun in self._nouns({"thing", "animal", "clothes"}) if "building" not in noun.tags]
            noun = self._pick(movable)
            plural = "plonly" in noun.tags or (not noun.tags & {"one", "nopl"} and self._chance(0.2))
            subject = NounPhrase(noun, self._pick(("the", "the", *POSSESSIVES)), plural)
        times = [item for item in self._lexicon.adverbials if item.kind == "time" and item.key != "often"]
        time = self._pick(times) if self._chance(0.5) else None
        question = self._chance(0.3)
        negated = not question and self._chance(0.4)
        return Being(subject, self._adverbial("place"), time, question, negated)

    def _where(self) -> Where:
        noun = self._pick(self._nouns({"place", "thing", "animal", "clothes", "family", "person"}))
        plural = "plonly" in noun.tags or ("thing" in noun.tags and self._chance(0.2))
        determiner = "the" if "place" in noun.tags or self._chance(0.4) else self._pick(POSSESSIVES)
        if "family" in noun.tags:
            determiner = self._pick(POSSESSIVES)
        return Where(NounPhrase(noun, determiner, plural))

    def _there(self) -> There:
        phrase = self._thing({"animal", "thing", "food"}, ("a",))
        if phrase.determiner == "":
            phrase = NounPhrase(phrase.noun, self._pick(self._lexicon.numerals)["en"], True)
        place = self._adverbial("place")
        return There(phrase, place)

    def _this(self) -> This:
        while True:
            phrase = self._thing({"thing", "animal", "family", "person", "building", "food"}, ("a", "my"))
            if not phrase.plural:
                return This(phrase)

    def _wish(self) -> Wish:
        noun = self._pick(self._nouns({"eat", "drink", "food"}))
        single = not noun.is_mass or ("cup" in noun.tags and self._chance(0.6))
        if not noun.is_mass and self._chance(0.2):
            return Wish(NounPhrase(noun, self._pick(self._lexicon.numerals)["en"], True))
        return Wish(NounPhrase(noun, "a" if single else ""))

    def _called(self) -> Called:
        if self._chance(0.5):
            return Called(self._name())
        noun = self._pick(self._nouns({"animal", "family", "mine"}))
        return Called(self._name(), NounPhrase(noun, self._pick(POSSESSIVES)))

    def _phrase(self) -> Phrase:
        row = self._pick(self._lexicon.phrases)
        return Phrase(self._pick(row["en"].split(" / ")), row)
