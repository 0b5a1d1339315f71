"""What every language does: dispatch on the kind of sentence, then capitalise."""

from vllm_local.starter.syntax import (
    Action,
    Being,
    Called,
    Going,
    NounPhrase,
    Phrase,
    Sentence,
    Speaking,
    State,
    Taste,
    There,
    This,
    Where,
    Wish,
)


def join(*words: str) -> str:
    """Join the words that are not empty with single spaces."""
    return " ".join(word for word in words if word)


def capitalise(text: str) -> str:
    """Write the first letter as a capital, after an opening mark such as "¿"."""
    start = 1 if text[:1] in "¿¡" else 0
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]


class Language:
    """A grammar with one method per kind of sentence.

    Statements come without a full stop, questions with their question mark.
    """

    code = ""

    def render(self, sentence: Sentence) -> str:
        """Return the sentence, capitalised."""
        return capitalise(self._finish(self._dispatch(sentence)))

    def _dispatch(self, sentence: Sentence) -> str:
        if isinstance(sentence, Phrase):
            return sentence.english if self.code == "en" else sentence.text[self.code]
        method = getattr(self, f"_{type(sentence).__name__.lower()}")
        return str(method(sentence))

    def _finish(self, text: str) -> str:
        return text

    def noun_phrase(self, phrase: NounPhrase) -> str:
        """Return the noun phrase alone, in its dictionary form."""
        raise NotImplementedError

    def _action(self, sentence: Action) -> str:
        raise NotImplementedError

    def _taste(self, sentence: Taste) -> str:
        raise NotImplementedError

    def _state(self, sentence: State) -> str:
        raise NotImplementedError

    def _going(self, sentence: Going) -> str:
        raise NotImplementedError

    def _speaking(self, sentence: Speaking) -> str:
        raise NotImplementedError

    def _being(self, sentence: Being) -> str:
        raise NotImplementedError

    def _where(self, sentence: Where) -> str:
        raise NotImplementedError

    def _there(self, sentence: There) -> str:
        raise NotImplementedError

    def _this(self, sentence: This) -> str:
        raise NotImplementedError

    def _wish(self, sentence: Wish) -> str:
        raise NotImplementedError

    def _called(self, sentence: Called) -> str:
        raise NotImplementedError
