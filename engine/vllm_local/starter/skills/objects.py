"""Short texts in a JSON object or a tool's arguments, such as a joke with its setup and its punchline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from vllm_local.starter.lexicon import load_lexicon
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.extraction import (
    described,
    fill,
    fits,
    is_reserved,
    object_schema,
    to_json,
    tool_of,
)
from vllm_local.starter.skills.grammar import request, tool_name, vocabulary
from vllm_local.starter.skills.messages import assistant, calling, exchange, system, user
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks
from vllm_local.starter.values import listing

# LangChain's standard tests ask for a joke about these.
_RESERVED_TOPIC = "cats"


@dataclass(frozen=True)
class Kind:
    """A kind of object, such as a joke.

    Attributes:
        name: One word for the kind.
        description: What it is, with its article.
        asked_as: How a request names it.
        fields: Pairs of the names that a field may have, and its text about "{topic}".
    """

    name: str
    description: str
    asked_as: str
    fields: tuple[tuple[tuple[str, ...], str], ...]


@cache
def _kinds() -> tuple[Kind, ...]:
    kinds = []
    for heading, lines in read_blocks("train/objects.txt").items():
        if heading.startswith("object "):
            name, description, asked_as = heading.removeprefix("object ").split(" | ")
            rows = (line.split(" = ") for line in lines)
            kinds.append(Kind(name, description, asked_as, tuple((tuple(k.split(", ")), text) for k, text in rows)))
    return tuple(kinds)


def _kind(source: Source) -> Kind:
    joke, *others = _kinds()
    return joke if source.chance(0.4) else source.rng.choice(others)


def draw_topic(source: Source) -> str:
    """Return what the text is to be about, as a plural or a mass noun."""
    draw = source.rng.random()
    if source.values == "heldout" or draw < 0.1:
        return source.rng.choice(read_blocks(f"{source.values}/objects.txt")["topic"])
    if draw < 0.5:
        return source.made_up_word() + source.rng.choice(("s", "s", ""))
    if draw < 0.8:
        topic = source.rng.choice(vocabulary("topics"))
        return f"{source.rng.choice(vocabulary('adjectives'))} {topic}" if source.chance(0.3) else topic
    nouns = [noun.forms["en"] for noun in load_lexicon().nouns]
    words = [singular if plural == "-" else plural for singular, plural in nouns]
    return source.rng.choice([word for word in words if word != _RESERVED_TOPIC])


def short_object(source: Source) -> Conversation:
    """Return a request for a short text, and the object, the tool call or the one line with it."""
    makers = (_by_keys, _by_schema, _by_tool, plain_joke)
    while True:
        conversation = source.rng.choices(makers, (45, 20, 20, 15))[0](source)
        if fits(source, conversation):
            return conversation


def plain_joke(source: Source) -> Conversation:
    """Return a request for a joke about something, and the joke in one line."""
    topic = draw_topic(source)
    joke = _kinds()[0]
    texts = [fill(text, topic=topic) for keys, text in joke.fields if "topic" not in keys]
    return Conversation(exchange(fill(request(source, "objects", "plain"), topic=topic), " ".join(texts)))


def _draw_object(source: Source, kind: Kind, topic: str, free: bool) -> dict[str, str]:
    """Return two or more fields with their texts; ``free`` allows the fields of LangChain's standard tests."""
    while True:
        fields = source.rng.sample(kind.fields, source.rng.randint(2, len(kind.fields)))
        if source.chance(0.8):
            fields = [field for field in kind.fields if field in fields]
        first = source.chance(0.6)
        drawn = {keys[0] if first else source.rng.choice(keys): fill(text, topic=topic) for keys, text in fields}
        if free or not is_reserved(list(drawn)):
            return drawn


def _request(source: Source, kind: Kind, topic: str) -> str:
    article = "an" if kind.asked_as[0] in "aeiou" else "a"
    return fill(request(source, "objects", "ask"), a=f"{article} {kind.asked_as}", topic=topic)


def _asked(source: Source, ask: str, form: str, answer: str) -> Conversation:
    """Return the request with the form of the answer, in one message or two."""
    if source.chance(0.35):
        frame = request(source, "objects", "system")
        return Conversation([system(fill(frame, json=form)), user(ask), assistant(answer)])
    layout = request(source, "objects", "layout")
    return Conversation(exchange(fill(layout, ask=ask, json=form), answer))


def several_objects(source: Source) -> Conversation:
    """Return requests for texts about several topics, all in the form that the system message asks for."""
    for turns in (source.rng.randint(2, 4), 2, 2):
        kind = _kind(source)
        topics = [draw_topic(source) for _ in range(turns)]
        drawn = _draw_object(source, kind, topics[0], free=True)
        messages = [system(fill(request(source, "objects", "system"), json=_form(source, list(drawn))))]
        for topic in topics:
            texts = {key: fill(_text_of(kind, key), topic=topic) for key in drawn}
            messages += exchange(_request(source, kind, topic), to_json(texts))
        if fits(source, conversation := Conversation(messages)):
            return conversation
    return short_object(source)


def _text_of(kind: Kind, key: str) -> str:
    return next(text for keys, text in kind.fields if key in keys)


def _by_keys(source: Source) -> Conversation:
    kind, topic = _kind(source), draw_topic(source)
    drawn = _draw_object(source, kind, topic, free=True)
    return _asked(source, _request(source, kind, topic), _form(source, list(drawn)), to_json(drawn))


def _form(source: Source, keys: Sequence[str]) -> str:
    """Return what the answer's form is to be."""
    quoted = [f'"{key}"' for key in keys]
    parts = {"keys": listing(keys), "quoted": listing(quoted), "example": _example(source, keys)}
    return fill(request(source, "objects", "json"), **parts)


def _example(source: Source, keys: Sequence[str]) -> str:
    """Return the form of the answer; with types only where these keys are no schema of the standard tests."""
    value = '"..."' if is_reserved(keys) else source.rng.choice(("string", '"..."', '"string"'))
    return "{" + ", ".join(f'"{key}": {value}' for key in keys) + "}"


def _properties(source: Source, keys: Sequence[str], kind: Kind) -> dict[str, Any]:
    frame = request(source, "objects", "field description").replace("{object}", kind.name)
    return described(source, {key: {"type": "string"} for key in keys}, frame, kind.name)


def _by_schema(source: Source) -> Conversation:
    kind, topic = _kind(source), draw_topic(source)
    drawn = _draw_object(source, kind, topic, free=False)
    title = f"{source.rng.choice(('Short', 'My', 'One'))}{kind.name.capitalize()}"
    schema = object_schema(source, _properties(source, list(drawn), kind), title, kind.description.capitalize())
    form = fill(request(source, "objects", "schema"), schema=to_json(schema))
    return _asked(source, _request(source, kind, topic), form, to_json(drawn))


def _by_tool(source: Source) -> Conversation:
    kind, topic = _kind(source), draw_topic(source)
    drawn = _draw_object(source, kind, topic, free=False)
    name = tool_name(source, "objects", kind.name)
    description = fill(request(source, "objects", "tool description"), a=kind.description)
    tool = tool_of(source, name, description, _properties(source, list(drawn), kind))
    return Conversation([user(_request(source, kind, topic)), calling((name, drawn))], tools=(tool,))
