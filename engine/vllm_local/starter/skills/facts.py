"""Facts to remember: ways to tell each, ways to ask for it, and the answer, which follows from the question alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from vllm_local.starter.skills.phrasing import capitalised, ended, fill, fresh, introduced, lowered, part, wording
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks, read_rows
from vllm_local.starter.values import draw_value

TOLD = "I will remember that."
_LISTED = 0.3
_KINDS = (
    *("name", "name", "full_name", "place", "city_state", "email", "word", "word", "phrase", "title", "small"),
    *("integer", "integer", "amount", "date", "time", "weekday", "month", "colour", "food", "job", "code", "code"),
    *("phone", "url", "words", "numbers", "names", "chinese", "japanese", "accented", "any_text"),
)


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
        kind: Kind of the value of the user's attribute; empty for other facts.
    """

    about: str
    value: str
    told: str
    question: str
    answer: str
    reply: str = TOLD
    kind: str = ""


FactMaker = Callable[[Source], Fact]


# What a fact is about


def draw_attribute(source: Source) -> tuple[str, str]:
    """Return an attribute, such as "shoe size", and the kind of its value; in training most are composed."""
    if source.values == "heldout" or source.chance(_LISTED):
        row = source.rng.choice(read_rows(f"{source.values}/attributes.txt"))
        return row[0], row[1]
    return fresh(source, lambda: _composed_attribute(source)), source.rng.choice(_KINDS)


def _composed_attribute(source: Source) -> str:
    noun, feature, made = part(source, "noun"), part(source, "feature"), source.made_up_word()
    thing = source.rng.choice((noun, noun, feature, made))
    forms = (
        f"{part(source, 'quality')} {thing}",
        f"{noun} {source.rng.choice((feature, made))}",
        f"{source.rng.choice((noun, made))}'s {source.rng.choice((feature, feature, noun, made))}",
        made,
        f"{made} {source.rng.choice((feature, noun, source.made_up_word()))}",
        f"{made.capitalize()} {source.rng.choice((feature, noun))}",
    )
    return source.rng.choices(forms, (20, 22, 18, 12, 20, 8))[0]


def _thing(source: Source) -> str:
    """Return something that is somewhere; in training most are made up."""
    if source.values == "train" and source.chance(0.6):
        made = source.made_up_word()
        return source.rng.choice((made, f"{made} {part(source, 'noun')}", f"{part(source, 'quality')} {made}"))
    return source.rng.choice(read_blocks(f"{source.values}/things.txt")["thing"])


# Ways to tell and to ask


def _listed(source: Source) -> bool:
    return source.frames == "heldout" or source.chance(_LISTED)


def _composed_tell(source: Source, subject: str, value: str) -> str:
    if source.chance(0.15):
        frame = part(source, "note")
    else:
        frame = part(source, "clause")
        if source.chance(0.45):
            frame = fill(part(source, "fact"), c=frame)
    if source.chance(0.2):
        frame = f"{part(source, 'interjection')} {lowered(frame)}"
    return fill(_closed(source, capitalised(source, frame)), s=subject, v=value)


def _closed(source: Source, frame: str) -> str:
    if source.chance(0.15):
        return f"{frame if frame.endswith('?') else frame + '.'} {part(source, 'closing')}"
    return ended(source, frame, "." if source.chance(0.93) else "!")


def _composed_ask(source: Source, subject: str) -> str:
    mine = subject.startswith("my ")
    heading = source.rng.choices(("ask", "request", "ask mine"), (48, 36, 16 if mine else 0))[0]
    frame = introduced(source, part(source, heading), "." if heading == "request" else "?")
    return fill(frame, s=subject, x=subject.removeprefix("my "))


def _tell(source: Source, attribute: str, value: str, owner: str = "") -> str:
    subject = f"{owner}'s {attribute}" if owner else f"my {attribute}"
    if _listed(source):
        return fill(source.frame("facts", "tell owned" if owner else "tell"), x=attribute, v=value, n=owner)
    return fresh(source, lambda: _composed_tell(source, subject, value))


def ask(source: Source, attribute: str, owner: str = "") -> str:
    """Return a question for an attribute of the user or of somebody else.

    Args:
        source: Randomness and lists.
        attribute: What is asked for, such as "shoe size".
        owner: Name of the owner; the user if left out.
    """
    if _listed(source):
        return fill(source.frame("facts", "ask owned" if owner else "ask"), x=attribute, n=owner)
    return fresh(source, lambda: _composed_ask(source, f"{owner}'s {attribute}" if owner else f"my {attribute}"))


def tell_of_user(source: Source, fact: Fact) -> str:
    """Return the fact about the user's attribute as a system message tells it."""
    if _listed(source):
        return fill(source.frame("facts", "system"), x=fact.about, v=fact.value)
    return fresh(source, lambda: _composed_tell(source, f"the user's {fact.about}", fact.value))


def name_user(source: Source, name: str) -> str:
    """Return the user's name as a system message tells it."""
    if source.frames == "heldout":
        return fill(source.frame("facts", "system name"), n=name)
    return fill(fresh(source, lambda: wording(source, "facts", "system name")), n=name)


def correct(source: Source, fact: Fact) -> Fact:
    """Return the fact about an attribute anew, with another value, told as a correction."""
    value = draw_value(source, fact.kind).text
    if _listed(source):
        told = fill(source.frame("facts", "correct"), x=fact.about, v=value, w=fact.value)
    else:
        told = fresh(source, lambda: _composed_correction(source, f"my {fact.about}", value, fact.value))
    return Fact(fact.about, value, told, fact.question, f"Your {fact.about} is {value}.", kind=fact.kind)


def _composed_correction(source: Source, subject: str, value: str, old: str) -> str:
    frame = ended(source, capitalised(source, part(source, "correction")), ".")
    if source.chance(0.15):
        frame = f"{frame if frame[-1] in '.!?' else frame + '.'} {part(source, 'correction closing')}"
    return fill(frame, s=subject, v=value, w=old)


# Facts


def _lines(file: str, heading: str, prefix: str) -> list[str]:
    lines = read_blocks(f"{file}/recall.txt")[heading]
    return [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]


def _headings(source: Source) -> list[str]:
    return list(read_blocks(f"{source.frames}/recall.txt"))


def _reworded(source: Source, told: str) -> str:
    """Return a listed way to tell with other words around it."""
    frame = told.rstrip(".!")
    if _listed(source) or not frame.startswith(("My ", "I ", "I'm ", "The ")) or ". " in frame or "?" in frame:
        return told
    if source.chance(0.5):
        frame = fill(part(source, "fact"), c=lowered(frame))
    if source.chance(0.4):
        frame = f"{part(source, 'interjection')} {lowered(frame)}"
    return _closed(source, capitalised(source, frame))


def _headed_question(source: Source, heading: str) -> str:
    question = source.rng.choice(_lines(source.frames, heading, "ask: "))
    if _listed(source):
        return question
    return fresh(source, lambda: introduced(source, question, question[-1] if question[-1] in ".?" else "?"))


def ask_again(source: Source, fact: Fact) -> Fact:
    """Return the fact with another question for it, where there is one."""
    if fact.kind:
        return replace(fact, question=ask(source, fact.about))
    return replace(fact, question=_headed_question(source, fact.about)) if "|" in fact.about else fact


def _headed_fact(source: Source, heading: str) -> Fact:
    value = source.value(heading.split("|")[1].strip())
    told, question = source.rng.choice(_lines(source.frames, heading, "tell: ")), _headed_question(source, heading)
    if source.frames == "train":
        listed = told
        told = fresh(source, lambda: _reworded(source, listed))
    answer = _lines("train", heading, "answer: ")[0].format(value=value)
    reply = f"Nice to meet you, {value}!" if heading.startswith("name") else TOLD
    return Fact(heading, value, fill(told, value=value), question, answer, reply)


def name_fact(source: Source) -> Fact:
    """Return the user's name."""
    return _headed_fact(source, _headings(source)[0])


def fixed_fact(source: Source) -> Fact:
    """Return a fact with wordings of its own, such as the user's age."""
    return _headed_fact(source, source.rng.choice(_headings(source)))


def attribute_fact(source: Source, attribute: tuple[str, str] | None = None) -> Fact:
    """Return "my … is …" with the attribute and the kind of its value, or with any."""
    name, kind = attribute or draw_attribute(source)
    value = draw_value(source, kind).text
    told = _tell(source, name, value)
    question = ask(source, name)
    return Fact(name, value, told, question, f"Your {name} is {value}.", kind=kind)


def owned_fact(source: Source) -> Fact:
    """Return "Anna's … is …"."""
    owner, (name, kind) = source.name(), draw_attribute(source)
    value = draw_value(source, kind).text
    told, question = _tell(source, name, value, owner), ask(source, name, owner)
    return Fact(f"{owner} {name}", value, told, question, f"{owner}'s {name} is {value}.")


def called_fact(source: Source) -> Fact:
    """Return how something of the user's is called; only for training."""
    noun = part(source, "noun") if source.chance(0.4) else source.made_up_word()
    value = draw_value(source, source.rng.choice(("name", "name", "full_name", "title"))).text
    told = fill(fresh(source, lambda: _reworded(source, part(source, "called tell"))), x=noun, v=value)
    question = fresh(source, lambda: fill(introduced(source, part(source, "called ask")), x=noun))
    return Fact(f"{noun} called", value, told, question, f"Your {noun} is called {value}.")


def thing_fact(source: Source) -> Fact:
    """Return where or when something is."""
    thing, heading = _thing(source), source.rng.choice(("where", "when"))
    value = draw_value(source, "time").text if heading == "when" else source.value("places")
    place = f"at {value}" if heading == "when" else f"in {value}"
    told = fill(source.frame("facts", f"tell {heading}"), x=thing, v=place)
    question = fill(source.frame("facts", f"ask {heading}"), x=thing)
    if source.frames == "train":
        asked = question
        question = fresh(source, lambda: introduced(source, asked, "?"))
    return Fact(f"{heading} {thing}", value, told, question, f"The {thing} is {place}.")


def draw_fact(source: Source) -> Fact:
    """Return a fact of any kind."""
    makers: tuple[FactMaker, ...] = (fixed_fact, attribute_fact, owned_fact, thing_fact, called_fact)
    weights = (44, 40, 9, 7, 0) if source.frames == "heldout" or source.values == "heldout" else (27, 45, 12, 7, 9)
    return source.rng.choices(makers, weights)[0](source)


def draw_facts(source: Source, count: int) -> list[Fact]:
    """Return facts about different things."""
    facts: dict[str, Fact] = {}
    while len(facts) < count:
        fact = draw_fact(source)
        facts.setdefault(fact.about, fact)
    return list(facts.values())
