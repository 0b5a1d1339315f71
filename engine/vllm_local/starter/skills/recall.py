"""Remembering what was said earlier in the conversation."""

from __future__ import annotations

from vllm_local.starter.skills.facts import (
    TOLD,
    Fact,
    ask,
    ask_again,
    attribute_fact,
    correct,
    draw_attribute,
    draw_fact,
    draw_facts,
    fixed_fact,
    name_fact,
    name_user,
    tell_of_user,
)
from vllm_local.starter.skills.messages import Message, assistant, exchange, system, user
from vllm_local.starter.skills.phrasing import fill, fresh, lowered, wording
from vllm_local.starter.skills.smalltalk import chat, plain_system
from vllm_local.starter.source import Source

NOT_TOLD = "You have not told me yet."
_OTHER_REPLIES = ("OK.", "Hello, {0}! How can I help you today?", "Got it!", "Thank you for telling me.", "{0}, noted.")
_CHARACTERS_A_TOKEN = 3
_LONG_FROM = 500  # tokens of room


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
    if not facts[index].kind:
        return []
    facts[index] = correct(source, facts[index])
    return [*exchange(facts[index].told, TOLD), *_talk(source, 80, 20)]


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
    frame = _pair_wording(source, "tell two")
    told = fill(frame, x=first.about, v=first.value, y=second.about, u=second.value)
    messages = exchange(told, TOLD) + _talk(source, 75, 25)
    if source.chance(0.6):
        return messages + _ask(source, [first, second])
    question = _pair_wording(source, "ask two")
    answer = f"Your {first.about} is {first.value} and your {second.about} is {second.value}."
    return messages + exchange(fill(question, x=first.about, y=second.about), answer)


def long_recall(source: Source) -> list[Message]:
    """Return facts, a long stretch of other talk within the source's room, and the questions."""
    facts = draw_facts(source, source.rng.choice((1, 2, 2, 3, 4)))
    messages = [*plain_system(source, 0.3), *(turn for fact in facts for turn in _tell(source, fact))]
    questions = _ask(source, facts, 4)
    budget = source.rng.uniform(0.3, 0.9) * source.room - _length(questions)
    while _length(messages) < budget:
        messages += chat(source)
    return messages + questions


def _pair_wording(source: Source, heading: str) -> str:
    if source.frames == "heldout":
        return source.frame("facts", heading)
    return fresh(source, lambda: wording(source, "facts", heading))


def spread_recall(source: Source) -> list[Message]:
    """Return facts that are asked for again and again, at every distance, while other talk fills the room."""
    facts = draw_facts(source, source.rng.randint(2, 4 if source.room < _LONG_FROM else 8))
    told = source.rng.randint(1, len(facts))
    messages = [*plain_system(source, 0.3), *(turn for fact in facts[:told] for turn in _tell(source, fact))]
    budget = source.rng.uniform(0.4, 0.8) * source.room
    gap = source.rng.uniform(0.03, 0.15) * source.room
    following = _length(messages) + gap
    while (length := _length(messages)) < budget:
        if told < len(facts) and source.chance(0.15):
            messages += _tell(source, facts[told])
            told += 1
        elif source.chance(0.03):
            known = facts[:told]
            messages += _correct(source, known)
            facts[:told] = known
        elif length > following:
            facts[:told] = [ask_again(source, fact) for fact in facts[:told]]
            messages += _ask(source, facts[:told], 2)
            following = length + gap
        else:
            messages += chat(source)
    return messages + _ask(source, facts[:told], 5)


def quiz(source: Source) -> list[Message]:
    """Return many facts told at once, in one message or in a few, and many questions for them."""
    facts = draw_facts(source, source.rng.randint(2, 5 if source.room < _LONG_FROM else 9))
    messages = plain_system(source, 0.15)
    if source.chance(0.6) and all(fact.reply == TOLD for fact in facts):
        told = source.rng.choice((" ", " ", "\n")).join(_sentence(fact.told) for fact in facts)
        messages += exchange(told, TOLD)
    else:
        messages += [turn for fact in facts for turn in _tell(source, fact)]
    return messages + _talk(source, 80, 20) + _ask(source, facts, 6)


def _sentence(text: str) -> str:
    return text if text[-1] in ".!?" else text + "."


def introduction(source: Source) -> list[Message]:
    """Return a name and another fact told in one sentence, and the questions for both."""
    name, other = name_fact(source), draw_fact(source)
    while other.about == name.about:
        other = draw_fact(source)
    joined = ("My name is {0} and {1}", "I am {0} and {1}", "I'm {0}, and {1}")
    apart = ("Hi, I'm {0}. {1}", "My name is {0}. {1}", "I am {0}! {1}", "Hello, {0} here. {1}")
    joins = other.told.startswith(("My ", "my ", "I ", "I'm ", "The "))
    frame = source.rng.choice(joined if joins and source.chance(0.7) else apart)
    told = lowered(other.told) if frame in joined else other.told
    messages = exchange(frame.replace("{0}", name.value).replace("{1}", told), name.reply)
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
        told = name_user(source, facts[0].value)
    else:
        facts = list({fact.about: fact for fact in (attribute_fact(source) for _ in range(3))}.values())
        facts = facts[: source.rng.randint(1, 3)]
        told = " ".join(tell_of_user(source, fact) for fact in facts)
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
    attribute = draw_attribute(source)
    facts = [attribute_fact(source, attribute) for _ in names]
    messages: list[Message] = plain_system(source, 0.2)
    for name, fact in zip(names, facts, strict=True):
        messages += [user(fact.told, name), assistant(TOLD)]
    if source.frames == "train" and source.chance(0.6):
        return messages + [turn for _ in range(3) for turn in _ask_one_user(source, names, facts)]
    return messages + _ask_one_user(source, names, facts)


def _ask_one_user(source: Source, names: list[str], facts: list[Fact]) -> list[Message]:
    index, asker = source.rng.randrange(len(names)), source.rng.choice(names)
    owner, fact = names[index], facts[index]
    if owner == asker:
        return [user(fact.question, asker), assistant(fact.answer)]
    question = ask(source, fact.about, owner)
    return [user(question, asker), assistant(f"{owner}'s {fact.about} is {fact.value}.")]
