"""German, with the order: subject, verb, time, object, "nicht", place, infinitive."""

from vllm_local.starter.languages.base import Language, join
from vllm_local.starter.lexicon import Adverbial, Verb, load_lexicon
from vllm_local.starter.syntax import (
    Action,
    Being,
    Called,
    Going,
    Name,
    NounPhrase,
    Pronoun,
    Speaking,
    State,
    Subject,
    Taste,
    There,
    This,
    Where,
    Wish,
    person_of,
)

_PRONOUNS = {"I": "ich", "you": "du", "he": "er", "she": "sie", "we": "wir", "they": "sie"}
_EIN_WORDS = {
    "a": "ein",
    "no": "kein",
    "my": "mein",
    "your": "dein",
    "his": "sein",
    "her": "ihr",
    "our": "unser",
    "their": "ihr",
}
_ARTICLE = {"m": "der", "f": "die", "n": "das", "pl": "die"}
_EIN_ENDING = {"m": "", "f": "e", "n": "", "pl": "e"}
_WEAK = {"m": "e", "f": "e", "n": "e", "pl": "en"}
_MIXED = {"m": "er", "f": "e", "n": "es", "pl": "en"}
_BE = ("bin", "bist", "ist", "sind", "sind")
_GO = ("gehe", "gehst", "geht", "gehen", "gehen")
_LIVE = ("wohne", "wohnst", "wohnt", "wohnen", "wohnen")
_SPEAK = ("spreche", "sprichst", "spricht", "sprechen", "sprechen")
_LIKE = ("mag", "magst", "mag", "mögen", "mögen")
_LOVE = ("liebe", "liebst", "liebt", "lieben", "lieben")
_MODALS = {
    "can": ("kann", "kannst", "kann", "können", "können"),
    "must": ("muss", "musst", "muss", "müssen", "müssen"),
    "want": ("will", "willst", "will", "wollen", "wollen"),
}


def conjugate(verb: Verb, person: int) -> tuple[str, str]:
    """Return the present form and the separable particle ("" where there is none)."""
    cells = verb.forms["de"]
    if len(cells) > 1:
        form, _, particle = cells[1 + person].partition("+")
        return form, particle
    stem = cells[0].removesuffix("en")
    linking = "e" if stem[-1] in "td" else ""
    second = "t" if stem[-1] in "szß" else linking + "st"
    return (stem + "e", stem + second, stem + linking + "t", cells[0], cells[0])[person], ""


class German(Language):
    """German grammar."""

    code = "de"

    def noun_phrase(self, phrase: NounPhrase) -> str:
        """Return the noun phrase in the nominative."""
        return self._case(phrase, accusative=False)

    def _case(self, phrase: NounPhrase, accusative: bool, negated: bool = False) -> str:
        singular, gender, plural = phrase.noun.forms["de"]
        slot = "pl" if phrase.plural else gender
        noun = plural if phrase.plural else singular
        key = "no" if negated and phrase.determiner in ("a", "") else phrase.determiner
        masculine_object = accusative and slot == "m"
        if key == "the":
            article, ending = "den" if masculine_object else _ARTICLE[slot], _WEAK[slot]
        elif key in _EIN_WORDS:
            article = _EIN_WORDS[key] + ("en" if masculine_object else _EIN_ENDING[slot])
            ending = _MIXED[slot]
        else:
            article = next((row["de"] for row in load_lexicon().numerals if row["en"] == key), "")
            ending = "e"
        ending = "en" if masculine_object else ending
        adjective = phrase.adjective.forms["de"][1] + ending if phrase.adjective else ""
        return join(article, adjective, noun)

    def _subject(self, subject: Subject) -> str:
        if isinstance(subject, Pronoun):
            return _PRONOUNS[subject.key]
        return subject.text if isinstance(subject, Name) else self.noun_phrase(subject)

    def _verb_second(self, subject: Subject, verb: str, rest: str, question: bool) -> str:
        who = self._subject(subject)
        return join(verb, who, rest) + "?" if question else join(who, verb, rest)

    def _action(self, sentence: Action) -> str:
        person = person_of(sentence.subject)
        verb, final = conjugate(sentence.verb, person)
        if sentence.modal:
            verb, final = _MODALS[sentence.modal][person], sentence.verb.forms["de"][0]
        thing = sentence.object
        kein = thing is not None and thing.determiner in ("a", "")
        rest = join(
            _text(sentence.time),
            self._case(thing, True, sentence.negated) if thing else "",
            "nicht" if sentence.negated and not kein else "",
            _text(sentence.place),
            final,
        )
        return self._verb_second(sentence.subject, verb, rest, sentence.question)

    def _taste(self, sentence: Taste) -> str:
        subject, liked = sentence.subject, sentence.liked
        person = person_of(subject)
        if isinstance(liked, NounPhrase):
            verb = (_LOVE if sentence.verb == "love" else _LIKE)[person]
            return join(self._subject(subject), verb, self._case(liked, True))
        if sentence.verb == "love":
            return join(self._subject(subject), _LOVE[person], "das", liked.forms["de"][0])
        return join(self._subject(subject), liked.forms["de"][1 + person], "gern")

    def _state(self, sentence: State) -> str:
        rest = join("nicht" if sentence.negated else "", sentence.adjective.forms["de"][0])
        return self._verb_second(sentence.subject, _BE[person_of(sentence.subject)], rest, sentence.question)

    def _going(self, sentence: Going) -> str:
        person = person_of(sentence.subject)
        if sentence.goal:
            verb, rest = _GO[person], join(_text(sentence.time), sentence.goal.text["de"])
        else:
            verb, rest = _LIVE[person], join("in", (sentence.city or {})["de"])
        return self._verb_second(sentence.subject, verb, rest, sentence.question)

    def _speaking(self, sentence: Speaking) -> str:
        rest = join("kein" if sentence.negated else "", sentence.tongue["de"])
        return self._verb_second(sentence.subject, _SPEAK[person_of(sentence.subject)], rest, sentence.question)

    def _being(self, sentence: Being) -> str:
        rest = join(_text(sentence.time), "nicht" if sentence.negated else "", _text(sentence.place))
        return self._verb_second(sentence.subject, _BE[person_of(sentence.subject)], rest, sentence.question)

    def _where(self, sentence: Where) -> str:
        verb = "sind" if sentence.thing.plural else "ist"
        return join("wo", verb, self.noun_phrase(sentence.thing)) + "?"

    def _there(self, sentence: There) -> str:
        verb = "sind" if sentence.thing.plural else "ist"
        return join(_text(sentence.place), verb, self.noun_phrase(sentence.thing))

    def _this(self, sentence: This) -> str:
        return join("das ist", self.noun_phrase(sentence.thing))

    def _wish(self, sentence: Wish) -> str:
        return join("ich möchte", self._case(sentence.thing, True)) + ", bitte"

    def _called(self, sentence: Called) -> str:
        if sentence.owner is None:
            return f"ich heiße {sentence.name}"
        return join(self.noun_phrase(sentence.owner), "heißt", sentence.name)


def _text(adverbial: Adverbial | None) -> str:
    return adverbial.text["de"] if adverbial else ""
