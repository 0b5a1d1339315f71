"""English, the source language."""

from vllm_local.starter.languages.base import Language, join
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

_MODALS = {"can": ("can", "can"), "must": ("must", "must"), "want": ("want to", "wants to")}


def _be(subject: Subject) -> str:
    return ("am", "are", "is", "are", "are")[person_of(subject)]


class English(Language):
    """English grammar."""

    code = "en"

    def noun_phrase(self, phrase: NounPhrase) -> str:
        """Return the noun phrase with its article."""
        noun = phrase.noun.forms["en"][1 if phrase.plural else 0]
        adjective = phrase.adjective.key if phrase.adjective else ""
        determiner = phrase.determiner
        if determiner == "a" and (adjective or noun)[0] in "aeiou":
            determiner = "an"
        return join(determiner, adjective, noun)

    def subject(self, subject: Subject) -> str:
        """Return the subject."""
        if isinstance(subject, Pronoun):
            return subject.key
        return subject.text if isinstance(subject, Name) else self.noun_phrase(subject)

    def _clause(self, subject: Subject, forms: tuple[str, ...], rest: str, **flags: object) -> str:
        """Conjugate ``forms`` (base, third person); ``flags``: modal, negated, question, often."""
        third = person_of(subject) == 2
        who, modal, adverb = self.subject(subject), str(flags.get("modal") or ""), str(flags.get("often") or "")
        auxiliary = "does" if third else "do"
        if modal in ("can", "must"):
            verb = "cannot" if flags.get("negated") else modal
            if flags.get("question"):
                return join(modal, who, adverb, forms[0], rest) + "?"
            return join(who, verb, adverb, forms[0], rest)
        if modal == "want":
            rest, forms = join(forms[0], rest), _MODALS["want"]
        if flags.get("question"):
            return join(auxiliary, who, adverb, forms[0], rest) + "?"
        if flags.get("negated"):
            return join(who, auxiliary, "not", adverb, forms[0], rest)
        return join(who, adverb, forms[1 if third else 0], rest)

    def _action(self, sentence: Action) -> str:
        time = sentence.time.key if sentence.time else ""
        often = time if time == "often" else ""
        rest = join(
            self.noun_phrase(sentence.object) if sentence.object else "",
            sentence.place.key if sentence.place else "",
            "" if often else time,
        )
        flags = {"modal": sentence.modal, "negated": sentence.negated, "question": sentence.question}
        return self._clause(sentence.subject, sentence.verb.forms["en"], rest, often=often, **flags)

    def _taste(self, sentence: Taste) -> str:
        liked = sentence.liked
        what = self.noun_phrase(liked) if isinstance(liked, NounPhrase) else liked.key
        return self._clause(sentence.subject, (sentence.verb, sentence.verb + "s"), what)

    def _state(self, sentence: State) -> str:
        who, verb = self.subject(sentence.subject), _be(sentence.subject)
        if sentence.question:
            return join(verb, who, sentence.adjective.key) + "?"
        return join(who, verb, "not" if sentence.negated else "", sentence.adjective.key)

    def _going(self, sentence: Going) -> str:
        forms = ("go", "goes") if sentence.goal else ("live in", "lives in")
        where = sentence.goal.key if sentence.goal else (sentence.city or {})["en"]
        often = "often" if sentence.time and sentence.time.key == "often" else ""
        time = sentence.time.key if sentence.time and not often else ""
        return self._clause(sentence.subject, forms, join(where, time), question=sentence.question, often=often)

    def _speaking(self, sentence: Speaking) -> str:
        flags = {"question": sentence.question, "negated": sentence.negated}
        return self._clause(sentence.subject, ("speak", "speaks"), sentence.tongue["en"], **flags)

    def _being(self, sentence: Being) -> str:
        who, verb = self.subject(sentence.subject), _be(sentence.subject)
        rest = join(sentence.place.key, sentence.time.key if sentence.time else "")
        if sentence.question:
            return join(verb, who, rest) + "?"
        return join(who, verb, "not" if sentence.negated else "", rest)

    def _where(self, sentence: Where) -> str:
        return join("where", _be(sentence.thing), self.noun_phrase(sentence.thing)) + "?"

    def _there(self, sentence: There) -> str:
        return join("there", _be(sentence.thing), self.noun_phrase(sentence.thing), sentence.place.key)

    def _this(self, sentence: This) -> str:
        return join("this is", self.noun_phrase(sentence.thing))

    def _wish(self, sentence: Wish) -> str:
        some = "" if sentence.thing.determiner else "some"
        return join("I would like", some, self.noun_phrase(sentence.thing)) + ", please"

    def _called(self, sentence: Called) -> str:
        if sentence.owner is None:
            return f"my name is {sentence.name}"
        return join(self.noun_phrase(sentence.owner), "is called", sentence.name)
