"""Remembering what was said earlier in the conversation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vllm_local.starter.skills.messages import Message, assistant, exchange, system, user
from vllm_local.starter.skills.smalltalk import chat, plain_system
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks, read_rows
from vllm_local.starter.values import draw_value

NOT_TOLD = "You have not told me yet."
TOLD = "I will remember that."
_OTHER_REPLIES = ("OK.", "Hello, {0}! How can I help you today?", "Got it!", "Thank you for telling me.", "{0}, noted.")
_CHARACTERS_A_TOKEN = 3


@dataclass(frozen=True)
class Fact:
    """A fact with one way to tell it, one way to ask for it and the answer.

    Attributes:
        about: What the fact says something about; two facts about the same exclude each other.
        value: What is to be remembered.
        told: The sentence that tells the fact.
        question: The question for it.
        answer: The right answer.
        reply: What the model says on hearing the fact.
    """

    about: str
    value: str
    told: str
    question: str
    answer: str
    reply: str = TOLD


FactMaker = Callable[[Source], Fact]


def _lines(file: str, heading: str, prefix: str) -> list[str]:
    lines = read_blocks(f"{file}/recall.txt")[heading]
    return [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]


def _headings(source: Source) -> list[str]:
    return list(read_blocks(f"{source.frames}/recall.txt"))


def headed_fact(source: Source, heading: str) -> Fact:
    """Return a fact of the kind that a heading of ``recall.txt`` names."""
    value = source.value(heading.split("|")[1].strip())
    told = source.rng.choice(_lines(source.frames, heading, "tell: ")).format(value=value)
    question = source.rng.choice(_lines(source.frames, heading, "ask: "))
    answer = _lines("train", heading, "answer: ")[0].format(value=value)
    reply = f"Nice to meet you, {value}!" if heading.startswith("name") else TOLD
    return Fact(heading, value, told, question, answer, reply)


def name_fact(source: Source) -> Fact:
    """Return the user's name."""
    return headed_fact(source, _headings(source)[0])


def fixed_fact(source: Source) -> Fact:
    """Return a fact with wordings of its own, such as the user's age."""
    return headed_fact(source, source.rng.choice(_headings(source)))


def _fill(frame: str, attribute: str, value: str = "", other: str = "", owner: str = "") -> str:
    parts = {"{x}": attribute, "{w}": other, "{n}": owner, "{v}": value}
    for marker, text in parts.items():
        frame = frame.replace(marker, text)
    return frame


def _attribute(source: Source) -> str:
    return source.rng.choice(read_rows(f"{source.values}/attributes.txt"))[0]


def _kinds(source: Source) -> dict[str, str]:
    return {row[0]: row[1] for row in read_rows(f"{source.values}/attributes.txt")}


def _attribute_value(source: Source, attribute: str) -> str:
    return draw_value(source, _kinds(source)[attribute]).text


def attribute_fact(source: Source, attribute: str | None = None) -> Fact:
    """Return "my … is …" with the attribute, or with any."""
    attribute = attribute or _attribute(source)
    value = _attribute_value(source, attribute)
    told = _fill(source.frame("facts", "tell"), attribute, value)
    question = _fill(source.frame("facts", "ask"), attribute)
    return Fact(attribute, value, told, question, f"Your {attribute} is {value}.")


def owned_fact(source: Source) -> Fact:
    """Return "Anna's … is …"."""
    owner, attribute = source.name(), _attribute(source)
    value = _attribute_value(source, attribute)
    told = _fill(source.frame("facts", "tell owned"), attribute, value, owner=owner)
    question = _fill(source.frame("facts", "ask owned"), attribute, owner=owner)
    return Fact(f"{owner} {attribute}", value, told, question, f"{owner}'s {attribute} is {value}.")


def thing_fact(source: Source) -> Fact:
    """Return where or when something is."""
    thing = source.rng.choice(read_blocks(f"{source.values}/things.txt")["thing"])
    heading = source.rng.choice(("where", "when"))
    value = draw_value(source, "time").text if heading == "when" else source.value("places")
    place = f"at {value}" if heading == "when" else f"in {value}"
    told = _fill(source.frame("facts", f"tell {heading}"), thing, place)
    question = _fill(source.frame("facts", f"ask {heading}"), thing)
    return Fact(f"{heading} {thing}", value, told, question, f"The {thing} is {place}.")


def draw_fact(source: Source) -> Fact:
    """Return a fact of any kind."""
    makers: tuple[FactMaker, ...] = (fixed_fact, attribute_fact, owned_fact, thing_fact)
    return source.rng.choices(makers, (44, 40, 9, 7))[0](source)


def draw_facts(source: Source, count: int) -> list[Fact]:
    """Return facts about different things."""
    facts: dict[str, Fact] = {}
    while len(facts) < count:
        fact = draw_fact(source)
        facts.setdefault(fact.about, fact)
    return list(facts.values())


def _reply(source: Source, fact: Fact) -> str:
    """Return the model's reply, or seldom one that another model might have given."""
    if source.values == "train" and source.chance(0.05):
        return source.rng.choice(_OTHER_REPLIES).format(fact.value)
    return fact.reply


def _tell(source: Source, fact: Fact) -> list[Message]:
    return exchange(fact.told, _reply(source, fact))


def _ask(source: Source, facts: list[Fact], most: int = 3) -> list[Message]:
    chosen = source.rng.sample(facts, source.rng.randint(1, min(most, len(facts))))
    return [turn for fact in chosen for turn in exchange(fact.question, fact.answer)]


def _talk(source: Source, *weights: int) -> list[Message]:
    count = source.rng.choices(range(len(weights)), weights)[0]
    return [turn for _ in range(count) for turn in chat(source)]


def _length(messages: list[Message]) -> int:
    return sum(len(message["content"]) // _CHARACTERS_A_TOKEN + 6 for message in messages)


def _told_facts(source: Source) -> tuple[list[Message], list[Fact]]:
    """Return a conversation within the room in which one to six facts are told."""
    messages, facts = _draw_told_facts(source)
    while _length(messages) > source.room * 0.75:
        messages, facts = _draw_told_facts(source)
    return messages, facts


def _draw_told_facts(source: Source) -> tuple[list[Message], list[Fact]]:
    weights = (50, 26, 14, 10) if source.room < 500 else (30, 20, 14, 12, 12, 12)
    facts = draw_facts(source, source.rng.choices(range(1, len(weights) + 1), weights)[0])
    messages = plain_system(source, 0.3)
    for fact in facts:
        messages += [*_talk(source, 85, 15), *_tell(source, fact)]
    messages += _talk(source, 60, 30, 10)
    if source.chance(0.15):
        messages += _correct(source, facts)
    return messages, facts


def _correct(source: Source, facts: list[Fact]) -> list[Message]:
    """Tell one of the facts anew, with another value; the list then holds the new one."""
    index = source.rng.randrange(len(facts))
    old = facts[index]
    if old.about not in _kinds(source):
        return []
    value = _attribute_value(source, old.about)
    told = _fill(source.frame("facts", "correct"), old.about, value, old.value)
    facts[index] = Fact(old.about, value, told, old.question, f"Your {old.about} is {value}.")
    return [*exchange(told, TOLD), *_talk(source, 80, 20)]


def recall(source: Source) -> list[Message]:
    """Return a conversation with facts, small talk between, and questions for the facts."""
    messages, facts = _told_facts(source)
    return messages + _ask(source, facts)


def recall_one(source: Source) -> list[Message]:
    """Return a conversation of the same kind that ends with its first question and answer."""
    messages, facts = _told_facts(source)
    fact = source.rng.choice(facts)
    return messages + exchange(fact.question, fact.answer)


def correction(source: Source) -> list[Message]:
    """Return a fact, its correction, and the question; the last word counts."""
    facts = [attribute_fact(source)]
    messages = [*plain_system(source, 0.2), *_tell(source, facts[0]), *_talk(source, 75, 25)]
    return messages + _correct(source, facts) + _ask(source, facts)


def several_in_one(source: Source) -> list[Message]:
    """Return two or three facts told in one message, and questions for them."""
    facts = draw_facts(source, source.rng.choice((2, 2, 3)))
    told = " ".join(_sentence(fact.told) for fact in facts)
    names = [fact.reply for fact in facts if fact.reply != TOLD]
    messages = exchange(told, names[0] if names else TOLD)
    return messages + _talk(source, 70, 30) + _ask(source, facts)


def two_attributes(source: Source) -> list[Message]:
    """Return two attributes told and perhaps asked for in one sentence."""
    first, second = attribute_fact(source), attribute_fact(source)
    while second.about == first.about:
        second = attribute_fact(source)
    frame = source.frame("facts", "tell two").replace("{y}", second.about).replace("{u}", second.value)
    messages = exchange(_fill(frame, first.about, first.value), TOLD) + _talk(source, 75, 25)
    if source.chance(0.6):
        return messages + _ask(source, [first, second])
    question = source.frame("facts", "ask two").replace("{y}", second.about)
    answer = f"Your {first.about} is {first.value} and your {second.about} is {second.value}."
    return messages + exchange(_fill(question, first.about), answer)


def long_recall(source: Source) -> list[Message]:
    """Return facts, a long stretch of other talk within the source's room, and the questions."""
    facts = draw_facts(source, source.rng.choice((1, 2, 2, 3, 4)))
    messages = [*plain_system(source, 0.3), *(turn for fact in facts for turn in _tell(source, fact))]
    questions = _ask(source, facts, 4)
    budget = source.rng.uniform(0.3, 0.9) * source.room - _length(questions)
    while _length(messages) < budget:
        messages += chat(source)
    return messages + questions


def _sentence(text: str) -> str:
    return text if text[-1] in ".!?" else text + "."


def introduction(source: Source) -> list[Message]:
    """Return a name and another fact told in one sentence, and the questions for both."""
    name, other = name_fact(source), draw_fact(source)
    while other.about == name.about:
        other = draw_fact(source)
    frame = source.rng.choice(("My name is {0} and {1}", "I am {0} and {1}", "Hi, I'm {0}. {2}", "I'm {0}, and {1}"))
    keeps_case = other.told.startswith(("I ", "I'm ", other.value, other.about[:3]))
    lower = other.told if keeps_case else other.told[0].lower() + other.told[1:]
    messages = exchange(frame.format(name.value, lower, other.told), name.reply)
    return messages + _talk(source, 70, 30) + _ask(source, [name, other])


def two_in_a_row(source: Source) -> list[Message]:
    """Return a fact and the question for it in two user messages without an answer between."""
    fact = draw_fact(source)
    return [user(fact.told), user(fact.question), assistant(fact.answer)]


def one_message(source: Source) -> list[Message]:
    """Return a fact and the question for it in one user message."""
    fact = draw_fact(source)
    return exchange(f"{_sentence(fact.told)} {fact.question}", fact.answer)


def not_told(source: Source) -> list[Message]:
    """Return a question for a fact that was never told, perhaps after other facts."""
    count = source.rng.choice((0, 1, 1, 2))
    asked, *others = (source.rng.choice((fixed_fact, attribute_fact))(source), *draw_facts(source, count))
    messages = [*plain_system(source, 0.2)]
    for fact in others:
        if fact.about != asked.about:
            messages += _tell(source, fact)
    return messages + _talk(source, 70, 30) + exchange(asked.question, NOT_TOLD)


def from_system(source: Source) -> list[Message]:
    """Return the user's name or other facts in the system message, and the question for one."""
    if source.chance(0.5):
        facts = [name_fact(source)]
        told = source.frame("facts", "system name").replace("{n}", facts[0].value)
    else:
        facts = list({fact.about: fact for fact in (attribute_fact(source) for _ in range(3))}.values())
        facts = facts[: source.rng.randint(1, 3)]
        told = " ".join(_fill(source.frame("facts", "system"), fact.about, fact.value) for fact in facts)
    plain = source.frame("translation", "plain system")
    messages = [system(source.rng.choice((f"{plain} {told}", f"{told} {plain}", told)))]
    if source.chance(0.2):
        messages.insert(source.rng.randint(0, 1), system(plain))
    return messages + _talk(source, 60, 30, 10) + _ask(source, facts)


def named_user(source: Source) -> list[Message]:
    """Return a user whose message carries a name, and the question for it."""
    fact = name_fact(source)
    messages: list[Message] = []
    if source.chance(0.5):
        first, answer = chat(source)
        messages += [{**first, "name": fact.value}, answer]
    return [*messages, user(fact.question, fact.value), assistant(fact.answer)]


def several_users(source: Source) -> list[Message]:
    """Return two or three named users who each tell something; one asks for it, or for another's."""
    names = list({source.name(): None for _ in range(source.rng.choice((2, 2, 3)))})
    kind = _attribute(source)
    facts = [attribute_fact(source, kind) for _ in names]
    messages: list[Message] = plain_system(source, 0.2)
    for name, fact in zip(names, facts, strict=True):
        messages += [user(fact.told, name), assistant(TOLD)]
    index, asker = source.rng.randrange(len(names)), source.rng.choice(names)
    owner, fact = names[index], facts[index]
    if owner == asker:
        return [*messages, user(fact.question, asker), assistant(fact.answer)]
    question = _fill(source.frame("facts", "ask owned"), kind, owner=owner)
    return [*messages, user(question, asker), assistant(f"{owner}'s {kind} is {fact.value}.")]
