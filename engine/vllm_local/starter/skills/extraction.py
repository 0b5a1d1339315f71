"""Filling a JSON object, or a tool's arguments, from what a short text says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from vllm_local.starter.languages.base import capitalise
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.messages import assistant, calling, system, user
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks
from vllm_local.starter.values import Value, draw_value, listing

_SCHEMAS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "strings": {"type": "array", "items": {"type": "string"}},
    "integers": {"type": "array", "items": {"type": "integer"}},
}
_MADE_UP_KINDS = {
    "string": ("word", "name", "title", "phrase", "code", "place", "accented", "chinese", "japanese", "email"),
    "integer": ("integer", "small"),
    "number": ("amount",),
    "strings": ("words", "names"),
    "integers": ("numbers",),
}
_CHARACTERS_A_TOKEN = 3
_MESSAGE_TOKENS = 12
_TOOL_TOKENS = 150
# What LangChain's standard tests ask for; these objects never occur in training or in evaluation.
_RESERVED = frozenset({frozenset({"name", "age"}), frozenset({"setup", "punchline"})})


@dataclass(frozen=True)
class Field:
    """A field of an object, with the ways to tell its value.

    Attributes:
        key: Name in the JSON object.
        type: A key of the JSON types, such as "string" or "integers".
        kinds: Kinds of values.
        clauses: Sentences that tell the value, or "yes: …" and "no: …" for a boolean.
        value: The value that the text tells, or None where it tells none.
    """

    key: str
    type: str
    kinds: tuple[str, ...]
    clauses: tuple[str, ...]
    value: Value | None = None

    @property
    def label(self) -> str:
        """The key in words."""
        return self.key.replace("_", " ")


@dataclass(frozen=True)
class Scene:
    """What a text is about: a thing that has a name, and the fields that are told of it."""

    name: str
    description: str
    subject: Field
    pronouns: tuple[tuple[str, ...], ...]
    fields: tuple[tuple[tuple[str, ...], Field], ...]


def fits(source: Source, conversation: Conversation) -> bool:
    """Return whether the conversation takes at most about ``source.room`` tokens."""
    texts = [json.dumps(message, ensure_ascii=False) for message in conversation.messages]
    texts += [json.dumps(tool, ensure_ascii=False) for tool in conversation.tools]
    tokens = sum(map(len, texts)) / _CHARACTERS_A_TOKEN + _MESSAGE_TOKENS * len(conversation.messages)
    return tokens + (_TOOL_TOKENS if conversation.tools else 0) <= source.room


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


def extraction(source: Source) -> Conversation:
    """Return a text, a request for some of its fields, and the JSON object or the tool call with them."""
    for most in (5, 5, 4, 3, 2, 2):
        conversation = _draw(source, most)
        if fits(source, conversation):
            return conversation
    while not fits(source, conversation := _draw(source, 1, plain=True)):
        pass
    return conversation


def _draw(source: Source, most: int, plain: bool = False) -> Conversation:
    while True:
        count = source.rng.choices(range(1, most + 1), (15, 30, 30, 15, 10)[:most])[0]
        scene = source.rng.choice(_scenes(source.frames))
        subject, fields = _choose_fields(source, scene, count)
        told = [field for field in (subject, *fields) if field.value is not None]
        asked = source.rng.sample((subject, *fields), count) if subject.value else list(fields[:count])
        if not is_reserved([field.key for field in asked]):
            break
    text = _text(source, scene, subject, [field for field in told if field is not subject])
    if not plain and source.chance(0.25):
        return _as_tool(source, scene, asked, text)
    if source.chance(0.1) and count > 1:
        asked.insert(source.rng.randint(0, count), _untold(source, scene, (subject, *fields)))
    return _as_json(source, scene, asked, text, plain)


@cache
def _scenes(frames: str) -> tuple[Scene, ...]:
    blocks = read_blocks(f"{frames}/extraction.txt")
    scenes = []
    for heading, lines in blocks.items():
        if heading.startswith("scene "):
            name, keys, kinds, pronouns, description = _cells(heading.removeprefix("scene "))
            subject = Field(keys, "string", tuple(kinds.split("/")), lines)
            pairs = tuple(tuple(pair.split()) for pair in pronouns.split(", "))
            scenes.append(Scene(name, description, subject, pairs, _fields(blocks, name)))
    return tuple(scenes)


def _fields(blocks: dict[str, tuple[str, ...]], scene: str) -> tuple[tuple[tuple[str, ...], Field], ...]:
    fields = []
    for heading, lines in blocks.items():
        if heading.startswith(f"field {scene} |"):
            _, keys, json_type, kinds = _cells(heading)
            fields.append((tuple(keys.split(", ")), Field("", json_type, tuple(kinds.split("/")), lines)))
    return tuple(fields)


def _cells(heading: str) -> list[str]:
    return [cell.strip() for cell in heading.split("|")]


def _choose_fields(source: Source, scene: Scene, count: int) -> tuple[Field, list[Field]]:
    """Return the named (or unnamed) subject and fields with values; some fields are made up."""
    named = source.chance(0.75)
    key = source.rng.choice(scene.subject.key.split(", "))
    subject = replace(scene.subject, key=key, value=_value(source, scene.subject) if named else None)
    needed = count + (source.chance(0.3) if count < 5 else 0)
    fields: list[Field] = []
    drawn = source.rng.sample(scene.fields, len(scene.fields))
    while len(fields) < needed:
        made_up = not drawn or source.chance(0.15)
        field = _made_up(source) if made_up else _known(source, *drawn.pop())
        if field.key not in {key, *(other.key for other in fields)}:
            fields.append(replace(field, value=_value(source, field)))
    return subject, fields


def _known(source: Source, keys: tuple[str, ...], field: Field) -> Field:
    return replace(field, key=source.rng.choice(keys))


def _made_up(source: Source) -> Field:
    json_type = source.rng.choices(list(_MADE_UP_KINDS), (50, 20, 10, 10, 10))[0]
    words = [source.made_up_word() for _ in range(source.rng.choice((1, 1, 2)))]
    clauses = read_blocks(f"{source.frames}/extraction.txt")["made up"]
    return Field("_".join(words), json_type, _MADE_UP_KINDS[json_type], clauses)


def _value(source: Source, field: Field) -> Value:
    if field.type == "boolean":
        yes = source.chance(0.5)
        return Value("yes" if yes else "no", yes)
    return draw_value(source, source.rng.choice(field.kinds))


def _untold(source: Source, scene: Scene, taken: Sequence[Field]) -> Field:
    """Return a field that the text does not tell."""
    clauses = {field.clauses for field in taken}
    untold = [(keys, field) for keys, field in scene.fields if field.clauses not in clauses]
    keys = {field.key for field in taken}
    if untold and source.chance(0.8):
        field = _known(source, *source.rng.choice(untold))
        if field.key not in keys:
            return field
    return _made_up(source)


def _text(source: Source, scene: Scene, subject: Field, fields: Sequence[Field]) -> str:
    """Return the clauses of the fields, in any order, as sentences."""
    who, whose = source.rng.choice(scene.pronouns)
    name = _subject_text(source, subject)
    sentences: list[str] = []
    mentioned = joined = False
    for field in source.rng.sample(fields, len(fields)):
        clause = _clause(source, field)
        first = not mentioned and "{who" in clause
        joined = bool(sentences) and not first and not joined and source.chance(0.35)
        told = _tell(clause, name if first else who, f"{name}'s" if first else whose, field)
        if joined and clause.startswith("{who} ") and sentences[-1].startswith((name, who)):
            told = told.removeprefix(f"{who} ")
        mentioned = mentioned or first
        if joined:
            sentences[-1] += f"{source.rng.choice((' and', ' and', ', and'))} {told}"
        else:
            sentences.append(told)
    if not mentioned and subject.value:
        sentences.insert(0, f"{source.rng.choice(('this is about', 'we talk about'))} {name}")
    values = tuple(field.value.text for field in (subject, *fields) if field.value)
    return " ".join(f"{_capitalised(sentence, values)}." for sentence in sentences)


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


def _answer(fields: Sequence[Field]) -> dict[str, Any]:
    return {field.key: field.value.json if field.value else None for field in fields}


def _as_json(source: Source, scene: Scene, fields: Sequence[Field], text: str, plain: bool) -> Conversation:
    by_schema = not plain and not is_reserved([field.key for field in fields]) and source.chance(0.3)
    by_system = not plain and source.chance(0.35)
    heading = ("schema " if by_schema else "") + ("system" if by_system else "user")
    frame = source.frame("extraction", heading)
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
    answer = assistant(to_json(_answer(fields)))
    if not by_system:
        return Conversation([user(fill(frame, text=text, **parts)), answer])
    bare = fill(source.frame("extraction", "bare"), text=text)
    return Conversation([system(fill(frame, **parts)), user(bare), answer])


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
    return described(source, schemas, source.frame("extraction", "field description"), scene.name)


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _as_tool(source: Source, scene: Scene, fields: Sequence[Field], text: str) -> Conversation:
    frame = source.frame("extraction", "tool name")
    name = fill(frame, Scene=_camel(scene.name), scene=scene.name)
    description = fill(source.frame("extraction", "tool description"), a=scene.description)
    tool = tool_of(source, name, description, _properties(source, scene, fields))
    asked = user(fill(source.frame("extraction", "tool user"), text=text))
    return Conversation([asked, calling((name, _answer(fields)))], tools=(tool,))
