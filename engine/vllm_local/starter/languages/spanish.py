"""Spanish. The pronouns "I", "you" and "we" are dropped; persons as objects take "a"."""

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

_PRONOUNS = {"I": "", "you": "", "he": "él", "she": "ella", "we": "", "they": "ellos"}
_DATIVE = {"I": "me", "you": "te", "he": "a él le", "she": "a ella le", "we": "nos", "they": "a ellos les"}
_POSSESSIVES = {"my": "mi", "your": "tu", "his": "su", "her": "su", "their": "su"}
_BE = {"ser": ("soy", "eres", "es", "somos", "son"), "estar": ("estoy", "estás", "está", "estamos", "están")}
_GO = ("voy", "vas", "va", "vamos", "van")
_LIVE = ("vivo", "vives", "vive", "vivimos", "viven")
_SPEAK = ("hablo", "hablas", "habla", "hablamos", "hablan")
_MODALS = {
    "can": ("puedo", "puedes", "puede", "podemos", "pueden"),
    "must": ("debo", "debes", "debe", "debemos", "deben"),
    "want": ("quiero", "quieres", "quiere", "queremos", "quieren"),
}
_ENDINGS = {
    "ar": ("o", "as", "a", "amos", "an"),
    "er": ("o", "es", "e", "emos", "en"),
    "ir": ("o", "es", "e", "imos", "en"),
}


def conjugate(verb: Verb, person: int) -> str:
    """Return the present form of the verb."""
    cells = verb.forms["es"]
    if len(cells) > 1:
        return cells[1 + person]
    return cells[0][:-2] + _ENDINGS[cells[0][-2:]][person]


def _agree(adjective: Adjective, feminine: bool, plural: bool) -> str:
    return adjective.forms["es"][2 * plural + feminine]


def _to(phrase: str) -> str:
    return f"al {phrase[3:]}" if phrase.startswith("el ") else f"a {phrase}"


class Spanish(Language):
    """Spanish grammar."""

    code = "es"

    def noun_phrase(self, phrase: NounPhrase) -> str:
        """Return the noun phrase with its article."""
        singular, gender, plural = phrase.noun.forms["es"]
        feminine = gender in "fF"
        noun = plural if phrase.plural else singular
        adjective = _agree(phrase.adjective, feminine, phrase.plural) if phrase.adjective else ""
        return join(self._determiner(phrase, gender), noun, adjective)

    @staticmethod
    def _determiner(phrase: NounPhrase, gender: str) -> str:
        key, feminine = phrase.determiner, gender in "fF"
        if key == "the":
            if phrase.plural:
                return "las" if feminine else "los"
            return "la" if gender == "f" else "el"
        if key == "a":
            return "una" if gender == "f" else "un"
        if key == "our":
            return "nuestr" + ("a" if feminine else "o") + ("s" if phrase.plural else "")
        if key in _POSSESSIVES:
            return _POSSESSIVES[key] + ("s" if phrase.plural else "")
        return next((row["es"] for row in load_lexicon().numerals if row["en"] == key), "")

    def _subject(self, subject: Subject) -> str:
        if isinstance(subject, Pronoun):
            return _PRONOUNS[subject.key]
        return subject.text if isinstance(subject, Name) else self.noun_phrase(subject)

    def _object(self, verb: Verb, thing: NounPhrase | None) -> str:
        if thing is None:
            return ""
        human = bool(thing.noun.tags & {"person", "family"}) and verb.key != "have"
        return _to(self.noun_phrase(thing)) if human else self.noun_phrase(thing)

    def _clause(self, subject: Subject, verb: str, rest: str, question: bool, negated: bool = False) -> str:
        words = join(self._subject(subject), "no" if negated else "", verb, rest)
        return f"¿{words}?" if question else words

    def _action(self, sentence: Action) -> str:
        person = person_of(sentence.subject)
        verb = conjugate(sentence.verb, person)
        if sentence.modal:
            verb = join(_MODALS[sentence.modal][person], sentence.verb.forms["es"][0])
        rest = join(self._object(sentence.verb, sentence.object), _text(sentence.place), _text(sentence.time))
        return self._clause(sentence.subject, verb, rest, sentence.question, sentence.negated)

    def _taste(self, sentence: Taste) -> str:
        subject, liked = sentence.subject, sentence.liked
        who = _DATIVE[subject.key] if isinstance(subject, Pronoun) else _to(self._subject(subject)) + " le"
        many = isinstance(liked, NounPhrase) and liked.plural
        verb = ("encanta" if sentence.verb == "love" else "gusta") + ("n" if many else "")
        if isinstance(liked, Verb):
            return join(who, verb, liked.forms["es"][0])
        return join(who, verb, self.noun_phrase(NounPhrase(liked.noun, "the", liked.plural)))

    def _state(self, sentence: State) -> str:
        subject = sentence.subject
        copula = _BE[sentence.adjective.forms["es"][4]][person_of(subject)]
        adjective = _agree(sentence.adjective, _feminine(subject), person_of(subject) > 2)
        return self._clause(subject, copula, adjective, sentence.question, sentence.negated)

    def _going(self, sentence: Going) -> str:
        person = person_of(sentence.subject)
        if sentence.goal:
            verb, rest = _GO[person], join(sentence.goal.text["es"], _text(sentence.time))
        else:
            verb, rest = _LIVE[person], join("en", (sentence.city or {})["es"])
        return self._clause(sentence.subject, verb, rest, sentence.question)

    def _speaking(self, sentence: Speaking) -> str:
        verb = _SPEAK[person_of(sentence.subject)]
        return self._clause(sentence.subject, verb, sentence.tongue["es"], sentence.question, sentence.negated)

    def _being(self, sentence: Being) -> str:
        verb, rest = _BE["estar"][person_of(sentence.subject)], join(_text(sentence.place), _text(sentence.time))
        return self._clause(sentence.subject, verb, rest, sentence.question, sentence.negated)

    def _where(self, sentence: Where) -> str:
        verb = "están" if sentence.thing.plural else "está"
        return join("¿dónde", verb, self.noun_phrase(sentence.thing)) + "?"

    def _there(self, sentence: There) -> str:
        return join("hay", self.noun_phrase(sentence.thing), sentence.place.text["es"])

    def _this(self, sentence: This) -> str:
        return join("esta" if _feminine(sentence.thing) else "este", "es", self.noun_phrase(sentence.thing))

    def _wish(self, sentence: Wish) -> str:
        return join("quisiera", self.noun_phrase(sentence.thing)) + ", por favor"

    def _called(self, sentence: Called) -> str:
        if sentence.owner is None:
            return f"me llamo {sentence.name}"
        return join(self.noun_phrase(sentence.owner), "se llama", sentence.name)


def _text(adverbial: Adverbial | None) -> str:
    return adverbial.text["es"] if adverbial else ""


def _feminine(subject: Subject) -> bool:
    if isinstance(subject, NounPhrase):
        return subject.noun.forms["es"][1] in "fF"
    return isinstance(subject, Pronoun) and subject.key == "she"
