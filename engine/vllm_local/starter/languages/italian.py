"""Italian. Subject pronouns are kept, except "I", "you" and "we" in questions."""

from vllm_local.starter.languages.base import Language, join
from vllm_local.starter.lexicon import Adjective, Verb, load_lexicon
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

_VOWELS = "aeiouàèéìòù"
_PRONOUNS = {"I": "io", "you": "tu", "he": "lui", "she": "lei", "we": "noi", "they": "loro"}
_POSSESSIVES = {
    "my": ("mio", "mia", "miei", "mie"),
    "your": ("tuo", "tua", "tuoi", "tue"),
    "his": ("suo", "sua", "suoi", "sue"),
    "her": ("suo", "sua", "suoi", "sue"),
    "our": ("nostro", "nostra", "nostri", "nostre"),
    "their": ("loro", "loro", "loro", "loro"),
}
_BE = ("sono", "sei", "è", "siamo", "sono")
_GO = ("vado", "vai", "va", "andiamo", "vanno")
_LIVE = ("vivo", "vivi", "vive", "viviamo", "vivono")
_SPEAK = ("parlo", "parli", "parla", "parliamo", "parlano")
_MODALS = {
    "can": ("posso", "puoi", "può", "possiamo", "possono"),
    "must": ("devo", "devi", "deve", "dobbiamo", "devono"),
    "want": ("voglio", "vuoi", "vuole", "vogliamo", "vogliono"),
}
_DATIVE = {"I": "mi", "you": "ti", "he": "a lui", "she": "a lei", "we": "ci", "they": "a loro"}


def _needs_lo(word: str) -> bool:
    return word[0] in "zxy" or word[:2] in ("gn", "ps", "pn") or (word[0] == "s" and word[1] not in _VOWELS)


def definite(word: str, feminine: bool, plural: bool) -> str:
    """Return the article with the word: "lo zio", "l'acqua", "gli amici"."""
    vowel = word[0] in _VOWELS
    if plural:
        article = "le" if feminine else "gli" if vowel or _needs_lo(word) else "i"
        return f"{article} {word}"
    if vowel:
        return f"l'{word}"
    return f"{'la' if feminine else 'lo' if _needs_lo(word) else 'il'} {word}"


def _indefinite(word: str, feminine: bool) -> str:
    if feminine:
        return f"un'{word}" if word[0] in _VOWELS else f"una {word}"
    return f"{'uno' if _needs_lo(word) else 'un'} {word}"


def _contract(preposition: str, phrase: str) -> str:
    """Join "a" or "di" to a phrase that may start with an article: "al cane", "dell'acqua"."""
    stem = {"a": "a", "di": "de"}[preposition]
    for article, tail in (
        ("il ", "l "),
        ("lo ", "llo "),
        ("la ", "lla "),
        ("l'", "ll'"),
        ("i ", "i "),
        ("gli ", "gli "),
        ("le ", "lle "),
    ):
        if phrase.startswith(article):
            return stem + tail + phrase[len(article) :]
    return f"{preposition} {phrase}"


def conjugate(verb: Verb, person: int) -> str:
    """Return the present form of the verb."""
    cells = verb.forms["it"]
    if len(cells) > 1:
        return cells[1 + person]
    stem, ending = cells[0][:-3], cells[0][-3:]
    soft = stem[:-1] if stem.endswith("i") else stem + "h" if stem[-1] in "cg" and ending == "are" else stem
    if person in (1, 3):
        return soft + ("i" if person == 1 else "iamo")
    return stem + {"are": ("o", "", "a", "", "ano")}.get(ending, ("o", "", "e", "", "ono"))[person]


def _agree(adjective: Adjective, feminine: bool, plural: bool) -> str:
    return adjective.forms["it"][2 * plural + feminine]


class Italian(Language):
    """Italian grammar."""

    code = "it"

    def noun_phrase(self, phrase: NounPhrase) -> str:
        """Return the noun phrase with its article."""
        singular, gender, plural = phrase.noun.forms["it"]
        if phrase.plural and plural.endswith("*f"):
            gender = "f"
        feminine = gender == "f"
        word = plural.removesuffix("*f") if phrase.plural else singular
        words = join(word, _agree(phrase.adjective, feminine, phrase.plural) if phrase.adjective else "")
        return self._determine(phrase, words, feminine)

    def _determine(self, phrase: NounPhrase, words: str, feminine: bool) -> str:
        key = phrase.determiner
        if key == "the":
            return definite(words, feminine, phrase.plural)
        if key == "a":
            return _indefinite(words, feminine)
        if key in _POSSESSIVES:
            words = join(_POSSESSIVES[key][2 * phrase.plural + feminine], words)
            bare = "family" in phrase.noun.tags and not phrase.plural and key != "their"
            return words if bare else definite(words, feminine, phrase.plural)
        return join(self._numeral(key), words)

    @staticmethod
    def _numeral(key: str) -> str:
        return next((row["it"] for row in load_lexicon().numerals if row["en"] == key), "")

    def _subject(self, subject: Subject, question: bool = False) -> str:
        if isinstance(subject, Pronoun):
            return "" if question and subject.key in ("I", "you", "we") else _PRONOUNS[subject.key]
        return subject.text if isinstance(subject, Name) else self.noun_phrase(subject)

    def _action(self, sentence: Action) -> str:
        person = person_of(sentence.subject)
        verb = conjugate(sentence.verb, person)
        infinitive = ""
        if sentence.modal:
            verb, infinitive = _MODALS[sentence.modal][person], sentence.verb.forms["it"][0]
        time = sentence.time.text["it"] if sentence.time else ""
        often = time if time == "spesso" else ""
        return join(
            self._subject(sentence.subject, sentence.question),
            "non" if sentence.negated else "",
            verb,
            often,
            infinitive,
            self.noun_phrase(sentence.object) if sentence.object else "",
            sentence.place.text["it"] if sentence.place else "",
            "" if often else time,
        ) + ("?" if sentence.question else "")

    def _liked(self, sentence: Taste) -> str:
        liked = sentence.liked
        if isinstance(liked, Verb):
            return liked.forms["it"][0]
        return self.noun_phrase(NounPhrase(liked.noun, "the", liked.plural))

    def _taste(self, sentence: Taste) -> str:
        liked, subject = self._liked(sentence), sentence.subject
        if sentence.verb == "love":
            verb = ("amo", "ami", "ama", "amiamo", "amano")[person_of(subject)]
            return join(self._subject(subject), verb, liked)
        who = _DATIVE[subject.key] if isinstance(subject, Pronoun) else _contract("a", self._subject(subject))
        many = isinstance(sentence.liked, NounPhrase) and sentence.liked.plural
        return join(who, "piacciono" if many else "piace", liked)

    def _state(self, sentence: State) -> str:
        subject = sentence.subject
        feminine, plural = _gender(subject), person_of(subject) > 2
        return join(
            self._subject(subject, sentence.question),
            "non" if sentence.negated else "",
            _BE[person_of(subject)],
            _agree(sentence.adjective, feminine, plural),
        ) + ("?" if sentence.question else "")

    def _going(self, sentence: Going) -> str:
        person, who = person_of(sentence.subject), self._subject(sentence.subject, sentence.question)
        time = sentence.time.text["it"] if sentence.time else ""
        often = time if time == "spesso" else ""
        if sentence.goal:
            words = join(who, _GO[person], often, sentence.goal.text["it"], "" if often else time)
        else:
            words = join(who, _LIVE[person], "a", (sentence.city or {})["it"])
        return words + ("?" if sentence.question else "")

    def _speaking(self, sentence: Speaking) -> str:
        who = self._subject(sentence.subject, sentence.question)
        verb = join("non" if sentence.negated else "", _SPEAK[person_of(sentence.subject)])
        return join(who, verb, sentence.tongue["it"]) + ("?" if sentence.question else "")

    def _being(self, sentence: Being) -> str:
        return join(
            self._subject(sentence.subject, sentence.question),
            "non" if sentence.negated else "",
            _BE[person_of(sentence.subject)],
            sentence.place.text["it"],
            sentence.time.text["it"] if sentence.time else "",
        ) + ("?" if sentence.question else "")

    def _where(self, sentence: Where) -> str:
        verb = "dove sono " if sentence.thing.plural else "dov'è "
        return verb + self.noun_phrase(sentence.thing) + "?"

    def _there(self, sentence: There) -> str:
        verb = "ci sono" if sentence.thing.plural else "c'è"
        return join(verb, self.noun_phrase(sentence.thing), sentence.place.text["it"])

    def _this(self, sentence: This) -> str:
        return join("questa" if _gender(sentence.thing) else "questo", "è", self.noun_phrase(sentence.thing))

    def _wish(self, sentence: Wish) -> str:
        thing = sentence.thing
        if thing.determiner:
            return join("vorrei", self.noun_phrase(thing)) + ", per favore"
        return join("vorrei", _contract("di", self.noun_phrase(NounPhrase(thing.noun, "the")))) + ", per favore"

    def _called(self, sentence: Called) -> str:
        if sentence.owner is None:
            return f"mi chiamo {sentence.name}"
        return join(self.noun_phrase(sentence.owner), "si chiama", sentence.name)


def _gender(subject: Subject) -> bool:
    """Whether the subject is feminine."""
    if isinstance(subject, NounPhrase):
        forms = subject.noun.forms["it"]
        return forms[1] == "f" or (subject.plural and forms[2].endswith("*f"))
    return isinstance(subject, Pronoun) and subject.key == "she"
