"""Answers after a short thought: sums, letters, and ordinary questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from vllm_local.starter.languages import TARGETS
from vllm_local.starter.lexicon import LANGUAGE_NAMES, Forms, load_lexicon
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.facts import draw_facts
from vllm_local.starter.skills.messages import Message, exchange, system
from vllm_local.starter.skills.numbers import ask_sum, solution
from vllm_local.starter.skills.phrasing import expand, fresh, introduced, wording
from vllm_local.starter.skills.recall import NOT_TOLD
from vllm_local.starter.skills.smalltalk import capital, chat, plain_system, smalltalk, unknown
from vllm_local.starter.skills.translation import passage
from vllm_local.starter.source import Source, held_out_sums, is_held_out_sum
from vllm_local.starter.tables import read_blocks, read_lines

_LONGEST_WORD = 14
_COMPOSED = 0.65


def _thought(messages: Sequence[Message], reasoning: str) -> Conversation:
    """Return the messages with a thought before the last answer."""
    return Conversation([*messages[:-1], {**messages[-1], "reasoning_content": reasoning}], thinking=True)


# Sums


def work_out(first: int, sign: str, second: int) -> str:
    """Return the working of one sum: its ones, its tens with what is carried or borrowed, and the result.

    No blanks, and the same two steps for every sum: what is short and regular is learned soonest.

    Args:
        first: First number, up to 99.
        sign: "+" or "-"; a difference is never negative.
        second: Second number, up to 99.
    """
    (tens, ones), (second_tens, second_ones) = divmod(first, 10), divmod(second, 10)
    if sign == "+":
        low = ones + second_ones
        carry = low // 10
        steps = f"{ones}+{second_ones}={low},{tens}+{second_tens}+{carry}={tens + second_tens + carry}"
        return f"{first}+{second}: {steps},{first + second}."
    borrow = int(ones < second_ones)
    top = ones + 10 * borrow
    steps = f"{top}-{second_ones}={top - second_ones},{tens}-{second_tens}-{borrow}={tens - second_tens - borrow}"
    return f"{first}-{second}: {steps},{first - second}."


def _draw_terms(source: Source) -> tuple[int, int]:
    """Return two numbers: both small, a longer one and a digit, or two of two digits."""
    kind = source.rng.choices(("small", "digit", "columns"), (45, 20, 35))[0]
    if kind == "small":
        return source.rng.randint(0, 20), source.rng.randint(0, 9)
    if kind == "digit":
        return source.rng.randint(10, 99), source.rng.randint(0, 9)
    return source.rng.randint(1, 99), source.rng.randint(10, 99)


def _draw_pair(source: Source, least: int = 0) -> tuple[int, str, int]:
    """Return a pair of the source's values with its sign."""
    while True:
        held_out = source.values == "heldout"
        first, second = source.rng.choice(sorted(held_out_sums())) if held_out else _draw_terms(source)
        sign = "-" if source.chance(0.4) else "+"
        result = first - second if sign == "-" else first + second
        wanted = min(first, second) >= least and result >= least
        if wanted and (held_out or not is_held_out_sum(first, second)):
            return first, sign, second


def _three_numbers(source: Source) -> Conversation:
    while True:
        first, second, third = (source.rng.randint(0, 10) for _ in range(3))
        held_out = is_held_out_sum(first, second)
        if held_out == (source.values == "heldout") and (held_out or not is_held_out_sum(first + second, third)):
            break
    terms = (first, second, third)
    working = f"{work_out(first, '+', second)} {work_out(first + second, '+', third)}"
    return _thought(exchange(ask_sum(source, terms, "+"), solution(terms, "+")), working)


def _word_problem(source: Source) -> Conversation:
    first, sign, second = _draw_pair(source, least=2)
    heading = source.rng.choice(
        [heading for heading in read_blocks("train/thinking.txt") if heading.startswith(f"problem {sign}")]
    )
    name, other = source.name(), source.name()
    result = first - second if sign == "-" else first + second
    words = {"a": first, "b": second, "c": result, "items": _items(source), "name": name, "other": other}
    frame = fresh(source, lambda: _problem(source, heading)) if source.frames == "train" else _problem(source, heading)
    answer = f"{solution((first, second), sign)} {heading.partition('|')[2].strip().format(**words)}"
    return _thought(exchange(frame.format(**words), answer), work_out(first, sign, second))


def _problem(source: Source, heading: str) -> str:
    lines = read_blocks(f"{source.frames}/thinking.txt")[heading]
    return f"{_part(source, lines, 'tell: ')} {_part(source, lines, 'ask: ')}"


def _part(source: Source, lines: Sequence[str], prefix: str) -> str:
    chosen = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
    composed = [line for line in chosen if "(" in line]
    return expand(source.rng, source.rng.choice(composed if composed and source.chance(_COMPOSED) else chosen))


def _items(source: Source) -> str:
    """Return things to count; in training most are made up."""
    if source.values == "train" and source.chance(0.75):
        return f"{source.made_up_word()}s"
    return source.rng.choice(read_blocks(f"{source.values}/thinking.txt")["items"])


def think_sum(source: Source) -> Conversation:
    """Return a sum, a difference, a sum of three numbers or a word problem, worked out before the answer."""
    kind = source.rng.choices(("pair", "three", "problem"), (55, 12, 33))[0]
    if kind == "three":
        return _three_numbers(source)
    if kind == "problem":
        return _word_problem(source)
    first, sign, second = _draw_pair(source)
    text, answer = ask_sum(source, (first, second), sign), solution((first, second), sign)
    return _thought([*plain_system(source, 0.25), *exchange(text, answer)], work_out(first, sign, second))


# Letters


def _blend(source: Source, words: Sequence[str]) -> str:
    """Return the start of one word and the end of another, so that every piece of a word gets spelled."""
    start, end = source.rng.choice(words), source.rng.choice(words)
    return start[: source.rng.randint(1, len(start))] + end[source.rng.randint(0, len(end) - 1) :]


@cache
def _known_words() -> tuple[str, ...]:
    lexicon = load_lexicon()
    tables: list[Forms] = [noun.forms for noun in lexicon.nouns]
    tables += [adjective.forms for adjective in lexicon.adjectives]
    tables += [verb.forms for verb in lexicon.verbs]
    forms = {cells[0] for table in tables for cells in table.values()}
    names = {name.lower() for name in read_lines("train/names.txt")}
    words = {*forms, *names, *read_blocks("train/thinking.txt")["words"]}
    return tuple(sorted(word for word in words if word.isascii() and word.isalpha() and word.islower() and word[1:]))


def _word(source: Source) -> str:
    """Return a word of at most fourteen letters to look at letter by letter."""
    held_out = read_blocks("heldout/thinking.txt")["words"]
    if source.values == "heldout":
        return source.rng.choice(held_out)
    known = _known_words()
    makers: tuple[Callable[[], str], ...] = (
        source.made_up_word,
        lambda: _blend(source, known),
        lambda: source.rng.choice(known),
    )
    while True:
        word = source.rng.choices(makers, (30, 45, 25))[0]()
        if 1 < len(word) <= _LONGEST_WORD and word not in held_out:
            return word


def _ask(source: Source, heading: str, **parts: str) -> str:
    if source.frames == "heldout":
        return source.frame("thinking", heading).format(**parts)
    return fresh(source, lambda: _composed(source, heading)).format(**parts)


def _composed(source: Source, heading: str) -> str:
    frame = wording(source, "thinking", heading)
    return introduced(source, frame, frame[-1]) if source.chance(0.3) and frame[-1] in ".?" else frame


def think_letters(source: Source) -> Conversation:
    """Return a question for the number of letters of a word, which is spelled before the answer.

    No blank stands before a letter, so that each is the same token in every word.
    """
    word = _word(source)
    if source.chance(0.3):
        spelled = ",".join(f"{letter}{place}" for place, letter in enumerate(word, start=1))
        question = _ask(source, "length", word=word)
        return _thought(exchange(question, f"The word {word} has {len(word)} letters."), f"{word}:{spelled}.")
    letter = source.rng.choice(word if source.chance(0.8) else "abcdefghijklmnopqrstuvwxyz")
    steps = ",".join(f"{each}{word[: place + 1].count(letter)}" for place, each in enumerate(word))
    count = word.count(letter)
    question = _ask(source, "letter", word=word, letter=letter)
    answer = f"The letter {letter} occurs {count} {'time' if count == 1 else 'times'} in {word}."
    return _thought(exchange(question, answer), f"{letter} in {word}:{steps}.")


def spell(source: Source) -> list[Message]:
    """Return a word to spell; in training one to four."""
    count = source.rng.randint(1, 4) if source.values == "train" else 1
    return [turn for _ in range(count) for turn in _spell(source)]


def _spell(source: Source) -> list[Message]:
    word = _word(source)
    word = word.capitalize() if source.chance(0.15) else word
    return exchange(_ask(source, "spell", word=word), f"{', '.join(word)}.")


# Ordinary questions

_GREETINGS = ("Hello!", "Good morning!", "Good evening!", "Good night!", "Goodbye!")


def _think_smalltalk(source: Source) -> Conversation:
    messages = smalltalk(source)
    greets = messages[-1]["content"].startswith(_GREETINGS)
    return _thought(messages, "The user greets me." if greets else "This is small talk.")


def _think_unknown(source: Source) -> Conversation:
    return _thought(unknown(source), "I do not know this.")


def _think_capital(source: Source) -> Conversation:
    messages = capital(source)
    country = messages[-1]["content"].partition("The capital of ")[2].partition(" is ")[0]
    return _thought(messages, f"The user asks for the capital of {country}.")


def _think_spell(source: Source) -> Conversation:
    return _thought(_spell(source), "The user wants a word spelled.")


def _think_translation(source: Source) -> Conversation:
    code = source.rng.choice(list(TARGETS))
    language = LANGUAGE_NAMES[code]
    english, translation = passage(source, code)
    if source.chance(0.4):
        before = [system(source.frame("translation", "system").replace("{language}", language))]
        text = english
    else:
        before = []
        text = source.frame("translation", "user").replace("{language}", language).replace("{text}", english)
    return _thought([*before, *exchange(text, translation)], f"The user wants a translation into {language}.")


def _think_recall(source: Source) -> Conversation:
    facts = draw_facts(source, 2 if source.chance(0.4) else 1)
    talk = [turn for fact in facts for turn in exchange(fact.told, fact.reply)]
    if source.chance(0.4):
        talk += chat(source)
    fact = source.rng.choice(facts)
    return _thought([*talk, *exchange(fact.question, fact.answer)], f"The user told me: {fact.told}")


def _think_not_told(source: Source) -> Conversation:
    asked, other = draw_facts(source, 2)
    before = exchange(other.told, other.reply) if source.chance(0.5) else []
    return _thought([*before, *exchange(asked.question, NOT_TOLD)], "The user has not told me this.")


def think_other(source: Source) -> Conversation:
    """Return an ordinary question, with a short thought before the answer that it has anyway."""
    makers = (
        _think_smalltalk,
        _think_unknown,
        _think_capital,
        _think_spell,
        _think_translation,
        _think_recall,
        _think_not_told,
    )
    thoughtful = source.rng.choices(makers, (25, 10, 6, 4, 25, 22, 8))[0](source)
    before = [] if thoughtful.messages[0]["role"] == "system" else plain_system(source, 0.25)
    return Conversation([*before, *thoughtful.messages], thinking=True)
