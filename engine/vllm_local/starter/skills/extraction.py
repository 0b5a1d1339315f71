"""Filling a JSON object, or a tool's arguments, from what a short text says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vllm_local.starter.languages.base import capitalise
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.grammar import expand, request, tool_name, vocabulary
from vllm_local.starter.skills.messages import Message, assistant, calling, exchange, system, user
from vllm_local.starter.skills.scenes import (
    Field,
    Scene,
    composed_scene,
    known_field,
    known_scenes,
    made_up_field,
    untold_field,
    value_of,
)
from vllm_local.starter.source import Source
from vllm_local.starter.values import listing

_SCHEMAS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "strings": {"type": "array", "items": {"type": "string"}},
    "integers": {"type": "array", "items": {"type": "integer"}},
}
_COMPOSED_SCENES = 0.55
_MADE_UP_FIELDS = {"train": 0.3, "heldout": 0.15}
# Words of several keys of one object: "first_name" and "last_name".
_COMMON_WORDS = frozenset({"name", "number", "of", "is", "the", "value", "date", "address", "list"})
# How often training asks for what names the thing where it is not drawn: it is the hardest value to find.
_SUBJECT_ASKED = 0.45
_CHARACTERS_A_TOKEN = 3
_MESSAGE_TOKENS = 12
_TOOL_TOKENS = 150
_REPEATED_ROOM = 600
# What LangChain's standard tests ask for; these objects never occur in training or in evaluation.
_RESERVED = frozenset({frozenset({"name", "age"}), frozenset({"setup", "punchline"})})


def fits(source: Source, conversation: Conversation, least_room: int = 0) -> bool:
    """Return whether the conversation takes at most about ``source.room`` tokens, or as many as `least_room`."""
    texts = [json.dumps(message, ensure_ascii=False) for message in conversation.messages]
    texts += [json.dumps(tool, ensure_ascii=False) for tool in conversation.tools]
    tokens = sum(map(len, texts)) / _CHARACTERS_A_TOKEN + _MESSAGE_TOKENS * len(conversation.messages)
    return tokens + (_TOOL_TOKENS if conversation.tools else 0) <= max(source.room, least_room)


def is_reserved(keys: Sequence[str]) -> bool:
    """Return whether a schema or a tool with these properties belongs to LangChain's standard tests."""
    return frozenset(keys) in _RESERVED


def to_json(value: object) -> str:
    """Return the value as the model writes it."""
    return json.dumps(value, ensure_ascii=False)


def object_schema(
    source: Source, properties: Mapping[str, Mapping[str, Any]], title: str, description: str
) -> dict[str, Any]:
    """Return the JSON schema of an object with these properties, as people write it or as Pydantic does."""
    required = list(properties)
    if source.chance(0.4):
        schema = {"properties": properties, "required": required, "title": title, "type": "object"}
        return {"description": description, **schema} if source.chance(0.4) else schema
    schema = {"type": "object", "properties": properties, "required": required}
    if source.chance(0.3):
        schema = {"title": title, **schema}
    if source.chance(0.2):
        del schema["required"]
    return schema


def described(source: Source, schemas: Mapping[str, dict[str, Any]], frame: str, thing: str) -> dict[str, Any]:
    """Return the schemas of properties, all of them with titles, with descriptions, or with neither.

    Args:
        source: Randomness.
        schemas: The schema of each property.
        frame: How to describe a property.
        thing: What the object is, for the descriptions.
    """
    title, description, first = source.chance(0.25), source.chance(0.4), source.chance(0.5)
    properties: dict[str, Any] = {}
    for key, schema in schemas.items():
        label, extra = key.replace("_", " "), dict[str, str]()
        if description:
            extra["description"] = fill(frame, label=label, scene=thing)
        if title:
            extra["title"] = label.title()
        properties[key] = {**extra, **schema} if first else {**schema, **extra}
    return properties


def tool_of(source: Source, name: str, description: str, properties: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a tool in OpenAI's shape whose parameters are all required."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    if source.chance(0.5):
        parameters = {"properties": properties, "required": list(properties), "type": "object"}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def fill(frame: str, **parts: str) -> str:
    """Return the frame with its line ends and with its parts, which may hold braces, put in."""
    frame = frame.replace("\\n", "\n")
    before, found, after = frame.partition("{text}")
    for name, part in parts.items():
        if name != "text":
            before, after = before.replace(f"{{{name}}}", part), after.replace(f"{{{name}}}", part)
    return before + (parts.get("text", "") if found else "") + after


@dataclass(frozen=True)
class _Case:
    """One text's fields.

    Attributes:
        subject: What names the thing, with a value if the text says it.
        fields: The other fields that the text tells.
        asked: The fields that are asked for, in their order.
    """

    subject: Field
    fields: tuple[Field, ...]
    asked: tuple[Field, ...]

    @property
    def answer(self) -> dict[str, Any]:
        """The JSON object."""
        return {field.key: field.value.json if field.value else None for field in self.asked}


def extraction(source: Source) -> Conversation:
    """Return a text, a request for some of its fields, and the JSON object or the tool call with them."""
    for most in (5, 5, 4, 3, 2, 2):
        conversation = _draw(source, most)
        if fits(source, conversation):
            return conversation
    while not fits(source, conversation := _draw(source, 1, plain=True)):
        pass
    return conversation


def several_extractions(source: Source) -> Conversation:
    """Return one request, and two or more texts, each with its JSON object."""
    for turns in (source.rng.choice((2, 2, 3, 4)), 2, 2):
        scene, case = _draw_asked(source, 3)
        messages = _as_json(source, scene, case, plain=False).messages
        for _ in range(turns - 1):
            case = _other_values(source, case)
            messages = [*messages, *_next(source, scene, case, by_system=messages[0]["role"] == "system")]
        if fits(source, conversation := Conversation(messages)):
            return conversation
    return extraction(source)


def repeated_extractions(source: Source) -> Conversation:
    """Return one text and several requests, each for other fields of it: many values to find in few tokens."""
    for most in (5, 4, 3):
        scene, case = _draw_asked(source, most)
        messages = list(_as_json(source, scene, case, plain=False).messages)
        for _ in range(source.rng.randint(2, 7)):
            messages += _ask_again(source, scene, case)
        if fits(source, conversation := Conversation(messages), _REPEATED_ROOM):
            return conversation
    return extraction(source)


def _ask_again(source: Source, scene: Scene, case: _Case) -> list[Message]:
    """Return a request for any of the fields that the text above tells, and its answer."""
    told = [field for field in (case.subject, *case.fields) if field.value]
    while True:
        again = replace(case, asked=_asked(source, told, source.rng.randint(1, min(3, len(told)))))
        if not is_reserved([field.key for field in again.asked]):
            break
    if len(told) > 1 and source.chance(0.1):
        again = _with_untold(source, scene, again)
    by_schema = source.chance(0.15)
    frame = request(source, "extraction", "schema system" if by_schema else "system")
    return exchange(fill(frame, **_parts(source, scene, frame, again.asked, by_schema)), to_json(again.answer))


def _next(source: Source, scene: Scene, case: _Case, by_system: bool) -> list[Message]:
    frame = request(source, "extraction", "bare") if by_system else expand(source, "requests", "extraction next")
    return exchange(fill(frame, text=_text(source, scene, case)), to_json(case.answer))


def _draw(source: Source, most: int, plain: bool = False) -> Conversation:
    scene, case = _draw_asked(source, most)
    if not plain and source.chance(0.25):
        return _as_tool(source, scene, case)
    if source.chance(0.1) and len(case.asked) > 1:
        case = _with_untold(source, scene, case)
    return _as_json(source, scene, case, plain)


def _draw_asked(source: Source, most: int) -> tuple[Scene, _Case]:
    """Return fields of a scene that are not the ones of LangChain's standard tests."""
    while True:
        count = source.rng.choices(range(1, most + 1), (15, 30, 30, 15, 10)[:most])[0]
        scene = _choose_scene(source)
        case = _draw_case(source, scene, count)
        if not is_reserved([field.key for field in case.asked]):
            return scene, case


def _choose_scene(source: Source) -> Scene:
    if source.frames == "train" and source.chance(_COMPOSED_SCENES):
        return composed_scene(source, 6)
    return source.rng.choice(known_scenes(source.frames))


def _draw_case(source: Source, scene: Scene, count: int) -> _Case:
    """Return the named (or unnamed) subject and fields with values; some fields are made up."""
    named = source.chance(0.75)
    key = source.rng.choice(scene.subject.key.split(", "))
    subject = replace(scene.subject, key=key, value=value_of(source, scene.subject) if named else None)
    needed = count + (source.chance(0.3) if count < 5 else 0)
    fields: list[Field] = []
    drawn = source.rng.sample(scene.fields, len(scene.fields))
    while len(fields) < needed:
        made_up = not drawn or source.chance(_MADE_UP_FIELDS[source.frames])
        field = made_up_field(source) if made_up else known_field(source, *drawn.pop())
        if _is_new(field, [subject, *fields]):
            fields.append(replace(field, value=value_of(source, field)))
    asked = _asked(source, (subject, *fields), count) if named else tuple(fields[:count])
    return _Case(subject, tuple(fields), asked)


def _asked(source: Source, fields: Sequence[Field], count: int) -> tuple[Field, ...]:
    """Draw fields to ask for, the first of which may name the thing."""
    drawn = source.rng.sample(fields, count)
    if source.frames == "train" and fields[0] not in drawn and source.chance(_SUBJECT_ASKED):
        drawn[source.rng.randrange(count)] = fields[0]
    return tuple(drawn)


def _is_new(field: Field, fields: Sequence[Field]) -> bool:
    """Return whether no other field has a word of this one's key, so that no text can be read in two ways."""
    words = set(field.key.split("_")) - _COMMON_WORDS
    return all(words.isdisjoint(other.key.split("_")) for other in fields)


def _with_untold(source: Source, scene: Scene, case: _Case) -> _Case:
    """Return the case with one more field asked for, which the text does not tell."""
    told = (case.subject, *case.fields)
    if not all(field.labelled for field in told):
        return case
    untold = untold_field(source, scene, told)
    if not _is_new(untold, told):
        return case
    at = source.rng.randint(0, len(case.asked))
    return replace(case, asked=(*case.asked[:at], untold, *case.asked[at:]))


def _other_values(source: Source, case: _Case) -> _Case:
    """Return the same fields with other values, at times with one of them untold."""
    subject, *fields = (
        replace(field, value=value_of(source, field) if field.value else None) for field in (case.subject, *case.fields)
    )
    if len(fields) > 1 and source.chance(0.08) and all(field.labelled for field in fields):
        untold = source.rng.randrange(len(fields))
        fields[untold] = replace(fields[untold], value=None)
    drawn = {field.key: field for field in (subject, *fields)}
    told = tuple(field for field in fields if field.value)
    return _Case(subject, told, tuple(drawn.get(field.key, field) for field in case.asked))


def _text(source: Source, scene: Scene, case: _Case) -> str:
    """Return the clauses of the fields, in any order, as sentences."""
    who, whose = source.rng.choice(scene.pronouns)
    name = _subject_text(source, case.subject)
    sentences: list[str] = []
    mentioned = joined = False
    for field in source.rng.sample(case.fields, len(case.fields)):
        clause = _clause(source, field)
        first = not mentioned and "{who" in clause
        joined = bool(sentences) and not first and not joined and "?" not in sentences[-1] and source.chance(0.35)
        told = _tell(clause, name if first else who, f"{name}'s" if first else whose, field)
        if joined and clause.startswith("{who} ") and sentences[-1].startswith((f"{name} ", f"{who} ")):
            told = told.removeprefix(f"{who} ")
        mentioned = mentioned or first
        if joined:
            sentences[-1] += f"{source.rng.choice((' and', ' and', ', and'))} {told}"
        else:
            sentences.append(told)
    if not mentioned and case.subject.value:
        sentences.insert(0, f"{_introduction(source)} {name}")
    if source.frames == "train" and source.chance(0.15):
        sentences.insert(source.rng.randint(0, len(sentences)), _noise(source))
    values = tuple(field.value.text for field in (case.subject, *case.fields) if field.value)
    return " ".join(f"{_capitalised(sentence, values)}." for sentence in sentences)


def _introduction(source: Source) -> str:
    if source.frames == "train":
        return expand(source, "clauses", "introduce")
    return source.rng.choice(("this is about", "we talk about"))


def _noise(source: Source) -> str:
    """Return a sentence that tells no value."""
    return fill(
        expand(source, "clauses", "noise"),
        adjective=source.rng.choice(vocabulary("adjectives")),
        thing=source.rng.choice(vocabulary("things")),
        made_up=source.made_up_word(),
    )


def _capitalised(sentence: str, values: tuple[str, ...]) -> str:
    """Return the sentence with a capital, but leave a value that it starts with as it is copied."""
    return sentence if sentence.startswith(values) else capitalise(sentence)


def _subject_text(source: Source, subject: Field) -> str:
    named = [line for line in subject.clauses if ("{value}" in line) == bool(subject.value)]
    if subject.value:
        return source.rng.choice(named).replace("{value}", subject.value.text)
    return source.rng.choice(named) if named else "it"


def _clause(source: Source, field: Field) -> str:
    clauses = field.clauses
    if field.type == "boolean" and field.value:
        answer = f"{field.value.text}: "
        clauses = tuple(line.removeprefix(answer) for line in clauses if line.startswith(answer))
    return source.rng.choice(clauses)


def _tell(clause: str, who: str, whose: str, field: Field) -> str:
    value = field.value.text if field.value else ""
    told = clause.replace("{whose}", whose).replace("{label}", field.label).replace("{value}", value)
    return told.replace("{who}", who)


def _as_json(source: Source, scene: Scene, case: _Case, plain: bool) -> Conversation:
    fields, text = case.asked, _text(source, scene, case)
    by_schema = not plain and not is_reserved([field.key for field in fields]) and source.chance(0.3)
    by_system = not plain and source.chance(0.35)
    heading = ("schema " if by_schema else "") + ("system" if by_system else "user")
    frame = request(source, "extraction", heading)
    parts = _parts(source, scene, frame, fields, by_schema)
    answer = assistant(to_json(case.answer))
    if not by_system:
        return Conversation([user(fill(frame, text=text, **parts)), answer])
    bare = fill(request(source, "extraction", "bare"), text=text)
    return Conversation([system(fill(frame, **parts)), user(bare), answer])


def _parts(source: Source, scene: Scene, frame: str, fields: Sequence[Field], by_schema: bool) -> dict[str, str]:
    """Return what a request may name the fields by."""
    keys = [field.key for field in fields]
    parts = {
        "keys": listing(keys if source.chance(0.7) else [field.label for field in fields]),
        "plain": ", ".join(keys),
        "quoted": listing([f'"{key}"' for key in keys]),
        "example": _example(source, fields),
        "schema": to_json(_schema(source, scene, fields)) if by_schema else "",
    }
    if "{keys}" in frame and any("_" in key for key in keys):
        parts["keys"] = listing(keys)
    return parts


def _example(source: Source, fields: Sequence[Field]) -> str:
    names = {"strings": "list of strings", "integers": "list of integers"}
    types = {field.key: names.get(field.type, field.type) for field in fields}
    if source.chance(0.3):
        return to_json(dict.fromkeys(types, "..."))
    if source.chance(0.4):
        return to_json(types)
    return "{" + ", ".join(f'"{key}": {name}' for key, name in types.items()) + "}"


def _schema(source: Source, scene: Scene, fields: Sequence[Field]) -> dict[str, Any]:
    title = _camel(scene.name) if source.chance(0.6) else scene.name
    return object_schema(source, _properties(source, scene, fields), title, scene.description.capitalize())


def _properties(source: Source, scene: Scene, fields: Sequence[Field]) -> dict[str, Any]:
    schemas: dict[str, dict[str, Any]] = {}
    for field in fields:
        nullable = field.value is None or source.chance(0.05)
        schema = _SCHEMAS[field.type]
        schemas[field.key] = {"anyOf": [schema, {"type": "null"}]} if nullable else schema
    return described(source, schemas, request(source, "extraction", "field description"), scene.name)


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _as_tool(source: Source, scene: Scene, case: _Case) -> Conversation:
    name = tool_name(source, "extraction", scene.name)
    description = fill(request(source, "extraction", "tool description"), a=scene.description)
    tool = tool_of(source, name, description, _properties(source, scene, case.asked))
    asked = user(fill(request(source, "extraction", "tool user"), text=_text(source, scene, case)))
    return Conversation([asked, calling((name, case.answer))], tools=(tool,))
