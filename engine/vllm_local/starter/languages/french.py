"""French; elision ("j'aime", "l'eau") is applied to the finished sentence."""

import re

from vllm_local.starter.languages.base import Language, join
from vllm_local.starter.lexicon import Adjective, Adverbial, Verb, load_lexicon
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

_VOWELS = "aeiouâàéèêëîïôûœh"
_ELISION = re.compile(rf"\b([Jj]e|ne|que|de|[Ll][ea]) (?=[{_VOWELS}]|[AEIOU])")
_PRONOUNS = {"I": "je", "you": "tu", "he": "il", "she": "elle", "we": "nous", "they": "ils"}
_POSSESSIVES = {
    "my": ("mon", "ma", "mes"),
    "your": ("ton", "ta", "tes"),
    "his": ("son", "sa", "ses"),
    "her": ("son", "sa", "ses"),
    "our": ("notre", "notre", "nos"),
    "their": ("leur", "leur", "leurs"),
}
_BE = ("suis", "es", "est", "sommes", "sont")
_GO = ("vais", "vas", "va", "allons", "vont")
_LIVE = ("habite", "habites", "habite", "habitons", "habitent")
_SPEAK = ("parle", "parles", "parle", "parlons", "parlent")
_LOVE = ("adore", "adores", "adore", "adorons", "adorent")
_LIKE = ("aime", "aimes", "aime", "aimons", "aiment")
_MODALS = {
    "can": ("peux", "peux", "peut", "pouvons", "peuvent"),
    "must": ("dois", "dois", "doit", "devons", "doivent"),
    "want": ("veux", "veux", "veut", "voulons", "veulent"),
}


def conjugate(verb: Verb, person: int) -> str:
    """Return the present form of the verb."""
    cells = verb.forms["fr"]
    if len(cells) > 1:
        return cells[1 + person]
    stem = cells[0][:-2]
    soft = stem + "e" if stem.endswith("g") else stem
    return (stem + "e", stem + "es", stem + "e", soft + "ons", stem + "ent")[person]


def _agree(adjective: Adjective, feminine: bool, plural: bool, following: str = "") -> str:
    forms = adjective.forms["fr"]
    if len(forms) > 5 and not feminine and not plural and following[:1] and following[0] in _VOWELS:
        return forms[5]
    return forms[2 * plural + feminine]


class French(Language):
    """French grammar."""

    code = "fr"

    def _finish(self, text: str) -> str:
        return _ELISION.sub(lambda match: match[1][:-1] + "'", text).replace("?", " ?").replace("  ?", " ?")

    def noun_phrase(self, phrase: NounPhrase) -> str:
        """Return the noun phrase with its article, elided."""
        return self._finish(self._phrase(phrase))

    def _phrase(self, phrase: NounPhrase, negated: bool = False) -> str:
        singular, gender, plural = phrase.noun.forms["fr"]
        feminine, noun = gender == "f", plural if phrase.plural else singular
        words = noun
        if phrase.adjective:
            adjective = _agree(phrase.adjective, feminine, phrase.plural, noun)
            before = phrase.adjective.forms["fr"][4] == "before"
            words = join(adjective, noun) if before else join(noun, adjective)
        return join(self._determiner(phrase, words, feminine, negated), words)

    @staticmethod
    def _determiner(phrase: NounPhrase, words: str, feminine: bool, negated: bool) -> str:
        key = phrase.determiner
        if key in ("a", "") and negated:
            return "de"
        if key == "the":
            return "les" if phrase.plural else "la" if feminine else "le"
        if key == "a":
            return "une" if feminine else "un"
        if key == "":
            return "des" if phrase.plural else "de la" if feminine else "de le" if words[0] in _VOWELS else "du"
        if key in _POSSESSIVES:
            masculine = not feminine or words[0] in _VOWELS
            return _POSSESSIVES[key][2 if phrase.plural else 0 if masculine else 1]
        return next(row["fr"] for row in load_lexicon().numerals if row["en"] == key)

    def _subject(self, subject: Subject) -> str:
        if isinstance(subject, Pronoun):
            return _PRONOUNS[subject.key]
        return subject.text if isinstance(subject, Name) else self._phrase(subject)

    def _clause(self, subject: Subject, verb: str, rest: str, question: bool, negated: bool = False) -> str:
        words = join(self._subject(subject), "ne" if negated else "", verb, "pas" if negated else "", rest)
        return f"est-ce que {words}?" if question else words

    def _action(self, sentence: Action) -> str:
        person = person_of(sentence.subject)
        verb, infinitive = conjugate(sentence.verb, person), ""
        if sentence.modal:
            verb, infinitive = _MODALS[sentence.modal][person], sentence.verb.forms["fr"][0]
        time = _text(sentence.time)
        often = time if time == "souvent" else ""
        rest = join(
            often,
            infinitive,
            self._phrase(sentence.object, sentence.negated) if sentence.object else "",
            _text(sentence.place),
            "" if often else time,
        )
        return self._clause(sentence.subject, verb, rest, sentence.question, sentence.negated)

    def _taste(self, sentence: Taste) -> str:
        liked = sentence.liked
        verb = (_LOVE if sentence.verb == "love" else _LIKE)[person_of(sentence.subject)]
        if isinstance(liked, Verb):
            what = liked.forms["fr"][0]
        else:
            what = self._phrase(NounPhrase(liked.noun, "the", liked.plural))
        return self._clause(sentence.subject, verb, what, False)

    def _state(self, sentence: State) -> str:
        subject = sentence.subject
        adjective = _agree(sentence.adjective, _feminine(subject), person_of(subject) > 2)
        return self._clause(subject, _BE[person_of(subject)], adjective, sentence.question, sentence.negated)

    def _going(self, sentence: Going) -> str:
        person, time = person_of(sentence.subject), _text(sentence.time)
        often = time if time == "souvent" else ""
        if sentence.goal:
            verb, rest = _GO[person], join(often, sentence.goal.text["fr"], "" if often else time)
        else:
            verb, rest = _LIVE[person], join("à", (sentence.city or {})["fr"])
        return self._clause(sentence.subject, verb, rest, sentence.question)

    def _speaking(self, sentence: Speaking) -> str:
        verb = _SPEAK[person_of(sentence.subject)]
        return self._clause(sentence.subject, verb, sentence.tongue["fr"], sentence.question, sentence.negated)

    def _being(self, sentence: Being) -> str:
        verb, rest = _BE[person_of(sentence.subject)], join(_text(sentence.place), _text(sentence.time))
        return self._clause(sentence.subject, verb, rest, sentence.question, sentence.negated)

    def _where(self, sentence: Where) -> str:
        verb = "sont" if sentence.thing.plural else "est"
        return join("où", verb, self._phrase(sentence.thing)) + "?"

    def _there(self, sentence: There) -> str:
        return join("il y a", self._phrase(sentence.thing), sentence.place.text["fr"])

    def _this(self, sentence: This) -> str:
        return join("c'est", self._phrase(sentence.thing))

    def _wish(self, sentence: Wish) -> str:
        return join("je voudrais", self._phrase(sentence.thing)) + ", s'il vous plaît"

    def _called(self, sentence: Called) -> str:
        if sentence.owner is None:
            return f"je m'appelle {sentence.name}"
        return join(self._phrase(sentence.owner), "s'appelle", sentence.name)


def _text(adverbial: Adverbial | None) -> str:
    return adverbial.text["fr"] if adverbial else ""


def _feminine(subject: Subject) -> bool:
    if isinstance(subject, NounPhrase):
        return subject.noun.forms["fr"][1] == "f"
    return isinstance(subject, Pronoun) and subject.key == "she"
