"""Answering with one of the options that the request lists, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vllm_local.starter.languages import ENGLISH, TARGETS
from vllm_local.starter.lexicon import LANGUAGE_NAMES, Noun, load_lexicon
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.extraction import fill, fits
from vllm_local.starter.skills.messages import assistant, system, user
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks
from vllm_local.starter.values import draw_value, listing

_SENTIMENTS = ("positive", "negative", "neutral")
_CATEGORIES = {
    "animal": ("animal",),
    "person": ("person", "family"),
    "food": ("food", "eat"),
    "drink": ("drink",),
    "clothes": ("clothes",),
    "place": ("place", "building"),
}
_INTENTS = ("weather", "music", "email", "calendar", "shopping", "alarm")
_CASES: tuple[Callable[[str], str], ...] = (str, str, str, str.capitalize, str.upper)


@dataclass(frozen=True)
class Question:
    """A question with its options.

    Attributes:
        task: The question, or the name of what is to be done.
        text: What the question is about.
        options: The options in any order.
        answer: The option that is right.
    """

    task: str
    text: str
    options: tuple[str, ...]
    answer: str


def choose(source: Source) -> Conversation:
    """Return a question with options, and the right option as the answer."""
    while True:
        makers = (_sentiment, _category, _language, _contains, _mention, _parity, _bigger, _intent)
        question = source.rng.choices(makers, (20, 14, 12, 14, 14, 8, 8, 10))[0](source)
        conversation = _ask(source, question)
        if fits(source, conversation):
            return conversation


def _ask(source: Source, question: Question) -> Conversation:
    options = source.rng.sample(question.options, len(question.options))
    rule = fill(source.frame("choices", "rule"), options=_options(source, options))
    answer = assistant(question.answer)
    if source.chance(0.4):
        instruction = f"{question.task} {rule}" if source.chance(0.8) else f"{rule} {question.task}"
        bare = fill(source.frame("choices", "bare"), text=question.text)
        return Conversation([system(instruction), user(bare), answer])
    layout = source.frame("choices", "layout")
    if "{task}" not in layout and not _is_plain(question):
        layout = "{task} " + layout
    return Conversation([user(fill(layout, task=question.task, rule=rule, text=question.text)), answer])


def _is_plain(question: Question) -> bool:
    """Return whether the options alone say what is asked for."""
    return set(question.options).isdisjoint({"yes", "no", "Yes", "No", "YES", "NO"})


def _options(source: Source, options: list[str]) -> str:
    """Return the options in one line, in one of the usual ways to list them."""
    quoted = [f'"{option}"' for option in options]
    ways = (", ".join(options), listing(options, "or"), " | ".join(options), "/".join(options), listing(quoted, "or"))
    return source.rng.choices(ways, (35, 35, 12, 10, 8))[0]


def _task(source: Source, heading: str) -> str:
    return source.frame("choices", f"task {heading}")


def _cased(source: Source, heading: str, text: str, options: tuple[str, ...], answer: str) -> Question:
    """Return a question whose options are all in one case."""
    case = source.rng.choice(_CASES)
    return Question(_task(source, heading), text, tuple(map(case, options)), case(answer))


def _some(source: Source, options: tuple[str, ...], answer: str) -> tuple[str, ...]:
    """Return the answer and one or more of the other options."""
    others = [option for option in options if option != answer]
    return (answer, *source.rng.sample(others, source.rng.randint(1, len(others))))


def _parts(source: Source, frame: str, word: str = "") -> str:
    """Return the frame with a thing, a name, a time and a word put in."""
    things = [noun for noun in load_lexicon().nouns if "thing" in noun.tags]
    thing = source.made_up_word() if source.chance(0.2) else source.rng.choice(things).key
    return fill(frame, thing=thing, name=source.name(), when=source.frame("choices", "when"), word=word)


def _sentiment(source: Source) -> Question:
    """Return a judgement; the words are the ones of training, since nobody can guess what a word means."""
    answer = source.rng.choice(_SENTIMENTS)
    word = source.rng.choice(read_blocks("train/choices.txt")[answer])
    options = _SENTIMENTS if answer == "neutral" or source.chance(0.6) else _SENTIMENTS[:2]
    return _cased(source, "sentiment", _parts(source, source.frame("choices", "sentence"), word), options, answer)


def _nouns(category: str) -> list[Noun]:
    tags = set(_CATEGORIES[category])
    return [noun for noun in load_lexicon().nouns if tags & noun.tags]


def _category(source: Source) -> Question:
    answer = source.rng.choice(tuple(_CATEGORIES))
    singular, plural = source.rng.choice(_nouns(answer)).forms["en"]
    word = plural if plural != "-" and source.chance(0.3) else singular
    return _cased(source, "category", word, _some(source, tuple(_CATEGORIES), answer), answer)


def _language(source: Source) -> Question:
    code = source.rng.choice(("en", *TARGETS))
    sentence = (ENGLISH if code == "en" else TARGETS[code]).render(source.sampler.draw())
    names = {"en": "English", **LANGUAGE_NAMES}
    text = sentence if sentence.endswith("?") else f"{sentence}."
    return _cased(source, "language", text, _some(source, tuple(names.values()), names[code]), names[code])


def _words(source: Source, count: int) -> list[str]:
    """Return different words to look for."""
    kind = source.rng.choice(("word", "word", "name", "colour", "food", "code"))
    words: list[str] = []
    for _ in range(20 * count):
        word = draw_value(source, kind).text
        if len(words) < count and not any(word in other or other in word for other in words):
            words.append(word)
    return words


def _contains(source: Source) -> Question:
    word, *words = _words(source, source.rng.randint(4, 8))
    contained = source.chance(0.5)
    if contained:
        words[source.rng.randrange(len(words))] = word
    task = fill(_task(source, "contains"), word=word)
    yes, no = source.rng.choice((("yes", "no"), ("yes", "no"), ("Yes", "No"), ("YES", "NO")))
    return Question(task, ", ".join(words), (yes, no), yes if contained else no)


def _mention(source: Source) -> Question:
    options = _words(source, source.rng.randint(2, 5))
    answer = source.rng.choice(options)
    while True:
        text = _parts(source, source.frame("choices", "mention"), answer)
        if [option for option in options if option in text] == [answer]:
            return Question(_task(source, "mention"), text, tuple(options), answer)


def _parity(source: Source) -> Question:
    number = source.number()
    return _cased(source, "parity", str(number), ("odd", "even"), "odd" if number % 2 else "even")


def _bigger(source: Source) -> Question:
    first, second = source.number(), source.number()
    while first == second:
        second = source.number()
    options = (str(first), str(second))
    text = source.rng.choice((f"{first} and {second}", f"{first}, {second}", f"{second} or {first}"))
    return Question(_task(source, "bigger"), text, options, str(max(first, second)))


def _intent(source: Source) -> Question:
    answer = source.rng.choice(_INTENTS)
    text = _parts(source, source.frame("choices", f"intent {answer}"))
    return _cased(source, "intent", text, _some(source, _INTENTS, answer), answer)
