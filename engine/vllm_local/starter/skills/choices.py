"""Answering with one of the options that the request lists, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from vllm_local.starter.languages import ENGLISH, TARGETS
from vllm_local.starter.lexicon import LANGUAGE_NAMES, load_lexicon
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.extraction import fill, fits
from vllm_local.starter.skills.grammar import expand, request, vocabulary
from vllm_local.starter.skills.messages import Message, assistant, exchange, system, user
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
# Words that belong to two categories.
_EATEN_ANIMALS = frozenset({"fish"})
_CASES: tuple[Callable[[str], str], ...] = (str, str, str, str.capitalize, str.upper)
_ENDS = (".", ".", ".", "!", "")


@dataclass(frozen=True)
class Task:
    """Something to decide of texts.

    Attributes:
        request: The question, or the name of what is to be done.
        options: The options in any order.
        draw: Draws a text and the option that is right.
        free: Whether the text comes with options of its own, so that each text needs a request of its own.
    """

    request: str
    options: tuple[str, ...]
    draw: Callable[[], tuple[str, str]]
    free: bool = False


def choose(source: Source) -> Conversation:
    """Return a question with options, and the right option as the answer."""
    while True:
        conversation = _ask(source, _draw_task(source))
        if fits(source, conversation):
            return conversation


def several_choices(source: Source) -> Conversation:
    """Return several texts with their answers, under one request or each with its own."""
    for turns in (source.rng.randint(2, 7), 4, 3, 2, 2):
        task = _draw_task(source)
        messages = list(_ask(source, task).messages)
        by_system = messages[0]["role"] == "system"
        for _ in range(turns - 1):
            messages += _ask_again(source, task, by_system)
        if fits(source, conversation := Conversation(messages)):
            return conversation
    return choose(source)


def _draw_task(source: Source) -> Task:
    makers = (_sentiment, _category, _language, _contains, _mention, _parity, _bigger, _intent)
    if source.frames == "train":
        return source.rng.choices((*makers, _rule), (18, 12, 8, 16, 22, 6, 8, 10, 10))[0](source)
    return source.rng.choices(makers, (20, 14, 12, 14, 14, 8, 8, 10))[0](source)


def _ask(source: Source, task: Task) -> Conversation:
    options = source.rng.sample(task.options, len(task.options))
    rule = fill(request(source, "choices", "rule"), options=_options(source, options))
    text, answer = task.draw()
    if source.chance(0.4) and not task.free:
        instruction = f"{task.request} {rule}" if source.chance(0.8) else f"{rule} {task.request}"
        bare = fill(request(source, "choices", "bare"), text=text)
        return Conversation([system(instruction), user(bare), assistant(answer)])
    layout = request(source, "choices", "layout")
    if "{task}" not in layout and not _is_plain(task):
        layout = "{task} " + layout
    return Conversation(exchange(fill(layout, task=task.request, rule=rule, text=text), answer))


def _ask_again(source: Source, task: Task, by_system: bool) -> list[Message]:
    """Return another text, for the same request unless it needs one of its own."""
    if task.free:
        return list(_ask(source, _bigger(source)).messages)
    text, answer = task.draw()
    frame = request(source, "choices", "bare") if by_system else expand(source, "requests", "choices next")
    return exchange(fill(frame, text=text), answer)


def _is_plain(task: Task) -> bool:
    """Return whether the options alone say what is asked for."""
    return set(task.options).isdisjoint({"yes", "no", "Yes", "No", "YES", "NO"})


def _options(source: Source, options: list[str]) -> str:
    """Return the options in one line, in one of the usual ways to list them."""
    quoted = [f'"{option}"' for option in options]
    ways = (", ".join(options), listing(options, "or"), " | ".join(options), "/".join(options), listing(quoted, "or"))
    return source.rng.choices(ways, (35, 35, 12, 10, 8))[0]


def _request(source: Source, heading: str) -> str:
    line = request(source, "choices", f"task {heading}")
    return line if line.endswith((".", "?", ":", "}")) else f"{line}."


def _cased(source: Source, heading: str, options: Sequence[str], draw: Callable[[str], str]) -> Task:
    """Return a task whose options are all in one case; ``draw`` makes a text for an option."""
    case = source.rng.choice(_CASES)

    def text_and_answer() -> tuple[str, str]:
        answer = source.rng.choice(options)
        return draw(answer), case(answer)

    return Task(_request(source, heading), tuple(map(case, options)), text_and_answer)


def _some(source: Source, options: Sequence[str]) -> list[str]:
    """Return two or more of the options."""
    return source.rng.sample(options, source.rng.randint(2, min(len(options), 7)))


def _parts(source: Source, frame: str, word: str = "") -> str:
    """Return the frame with things, a name, a time and a word put in."""
    when = source.frame("choices", "when")
    return fill(frame, thing=_thing(source), thing2=_thing(source), name=source.name(), when=when, word=word)


def _thing(source: Source) -> str:
    if source.chance(0.2):
        return source.made_up_word()
    if source.frames == "train" and source.chance(0.5):
        return source.rng.choice(vocabulary("things"))
    return source.rng.choice([noun.key for noun in load_lexicon().nouns if "thing" in noun.tags])


def _statement(source: Source, heading: str, word: str = "") -> str:
    """Return a sentence of training put together from parts."""
    text = _parts(source, expand(source, "statements", heading), word) + source.rng.choice(_ENDS)
    return text if word and text.startswith(word) else text[0].upper() + text[1:]


def _sentiment(source: Source) -> Task:
    """Return judgements; the words are the ones of training, since nobody can guess what a word means."""
    options = _SENTIMENTS if source.chance(0.6) else _SENTIMENTS[:2]
    return _cased(source, "sentiment", options, lambda answer: _judgement(source, answer))


def _judgement(source: Source, answer: str) -> str:
    word = source.rng.choice(read_blocks("train/choices.txt")[answer])
    if source.frames != "train" or source.chance(0.2):
        return _parts(source, source.frame("choices", "sentence"), word)
    if source.chance(0.3):
        return _statement(source, answer)
    return _statement(source, "sentence" if answer == "neutral" else "praise", word)


@cache
def _categories(frames: str) -> Mapping[str, tuple[str, ...]]:
    """Return the words of each category."""
    nouns = load_lexicon().nouns
    words = {
        category: tuple(
            form for noun in nouns if set(tags) & noun.tags for form in noun.forms["en"][:2] if form not in ("-", "")
        )
        for category, tags in _CATEGORIES.items()
    }
    if frames == "train":
        headings = [one for one in read_blocks("train/vocabulary.txt") if one.startswith("category ")]
        words |= {heading.removeprefix("category "): vocabulary(heading) for heading in headings}
    return words


def _category(source: Source) -> Task:
    words = _categories(source.frames)
    known = list(words) if source.chance(0.6) else list(_CATEGORIES)
    options = _some(source, known)

    def draw(answer: str) -> str:
        unclear = _EATEN_ANIMALS if {"animal", "food"} <= set(options) else frozenset()
        return source.rng.choice([word for word in words[answer] if word not in unclear])

    return _cased(source, "category", options, draw)


def _language(source: Source) -> Task:
    codes = {"English": "en", **{LANGUAGE_NAMES[code]: code for code in TARGETS}}

    def draw(answer: str) -> str:
        code = codes[answer]
        sentence = (ENGLISH if code == "en" else TARGETS[code]).render(source.sampler.draw())
        return sentence if sentence.endswith("?") else f"{sentence}."

    return _cased(source, "language", _some(source, list(codes)), draw)


def _words(source: Source, count: int) -> list[str]:
    """Return different words to look for."""
    kinds = ("word", "word", "name", "colour", "food", "code")
    kind = source.rng.choice((*kinds, "accented", "integer", "place") if source.frames == "train" else kinds)
    words: list[str] = []
    for _ in range(20 * count):
        word = draw_value(source, kind).text
        if len(words) < count and not any(word in other or other in word for other in words):
            words.append(word)
    return words


def _contains(source: Source) -> Task:
    count = source.rng.randint(3, 7)
    word, *others = _words(source, 2 * count)
    yes, no = source.rng.choice((("yes", "no"), ("yes", "no"), ("Yes", "No"), ("YES", "NO")))

    def draw() -> tuple[str, str]:
        words = source.rng.sample(others, min(count, len(others)))
        contained = source.chance(0.5)
        if contained:
            words[source.rng.randrange(len(words))] = word
        return ", ".join(words), yes if contained else no

    return Task(fill(_request(source, "contains"), word=word), (yes, no), draw)


def _mention(source: Source) -> Task:
    options = tuple(_words(source, source.rng.randint(2, 5)))

    def draw() -> tuple[str, str]:
        answer = source.rng.choice(options)
        while True:
            text = _mentioning(source, answer)
            if [option for option in options if option in text] == [answer]:
                return text, answer

    return Task(_request(source, "mention"), options, draw)


def _mentioning(source: Source, word: str) -> str:
    if source.frames != "train" or source.chance(0.2):
        return _parts(source, source.frame("choices", "mention"), word)
    sentences = [_statement(source, "mention", word)]
    if source.chance(0.4):
        sentences.insert(source.rng.randint(0, 1), _statement(source, "neutral"))
    return " ".join(sentence if sentence.endswith(("!", ".")) else f"{sentence}." for sentence in sentences)


def _rule(source: Source) -> Task:
    """Return a task that says which of two words means which of two answers."""
    options, (first, second) = tuple(_words(source, 2)), _words(source, 2)
    while {*options} & {first, second} or first in second or second in first or len(options) < 2:
        options, (first, second) = tuple(_words(source, 2)), _words(source, 2)
    labels = {"first": options[0], "second": options[1], "one": first, "other": second}
    rule = fill(source.frame("choices", "two rules"), **labels)

    def draw() -> tuple[str, str]:
        index = source.rng.randrange(2)
        while True:
            text = _mentioning(source, (first, second)[index])
            if (second, first)[index] not in text:
                return text, options[index]

    return Task(fill(_request(source, "rule"), rule=rule), options, draw)


def _parity(source: Source) -> Task:
    def draw(answer: str) -> str:
        while True:
            number = source.number()
            if ("even", "odd")[number % 2] == answer:
                return str(number)

    return _cased(source, "parity", ("odd", "even"), draw)


def _bigger(source: Source) -> Task:
    first, second = source.number(), source.number()
    while first == second:
        second = source.number()
    text = source.rng.choice((f"{first} and {second}", f"{first}, {second}", f"{second} or {first}"))
    return Task(
        _request(source, "bigger"), (str(first), str(second)), lambda: (text, str(max(first, second))), free=True
    )


@cache
def _intents(frames: str) -> tuple[str, ...]:
    """Return the intents that requests are made for; some of training's occur in parts only."""
    blocks = {
        *read_blocks(f"{frames}/choices.txt"),
        *(read_blocks("train/statements.txt") if frames == "train" else ()),
    }
    return tuple(sorted(one.removeprefix("intent ") for one in blocks if one.startswith("intent ")))


def _intent(source: Source) -> Task:
    def draw(answer: str) -> str:
        listed = f"intent {answer}" in read_blocks(f"{source.frames}/choices.txt")
        if source.frames != "train" or (listed and source.chance(0.25)):
            return _parts(source, source.frame("choices", f"intent {answer}"))
        return _statement(source, f"intent {answer}")

    return _cased(source, "intent", _some(source, _intents(source.frames)), draw)
