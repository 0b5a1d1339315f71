"""What the texts are about from which fields are extracted: things with names, and what can be told of them.

Some scenes stand in the lists. Most of those of training are put together at random: keys, words and sentences that
come once cannot be learnt by heart, so that only reading and copying solve them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from vllm_local.starter.skills.grammar import expand, vocabulary
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks
from vllm_local.starter.values import Value, draw_value

_MADE_UP_KINDS = {
    "string": ("word", "name", "title", "phrase", "code", "place", "accented", "chinese", "japanese", "email"),
    "integer": ("integer", "small"),
    "number": ("amount",),
    "strings": ("words", "names"),
    "integers": ("numbers",),
}
_SUBJECT_KINDS = ("title", "title", "phrase", "code", "name", "word", "accented", "chinese", "japanese")
_NAME_KINDS = ("name", "name", "full_name", "accented", "chinese", "japanese")
_MADE_UP_LABELS = 0.45
# How many of the scenes that are put together, and of the single fields, are as people write: words and values that go
# together, in short sentences.
_PLAIN = 0.5
_CLAUSES = 2
_UNLABELLED = 0.25
# How often people stand beside a thing, and how often its name stands behind "the" alone, or bare behind its noun.
# Without all that a model takes any name for a person's.
_PERSON_BESIDE = 0.35
_NAMED_ALONE, _NAMED_BARELY = 0.3, 0.2


@dataclass(frozen=True)
class Field:
    """A field of an object, with the ways to tell its value.

    Attributes:
        key: Name in the JSON object.
        type: A key of the JSON types, such as "string" or "integers".
        kinds: Kinds of values.
        clauses: Sentences that tell the value, or "yes: …" and "no: …" for a boolean.
        value: The value that the text tells, or None where it tells none.
        labelled: Whether the clauses name the field.
    """

    key: str
    type: str
    kinds: tuple[str, ...]
    clauses: tuple[str, ...]
    value: Value | None = None
    labelled: bool = True

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


@dataclass(frozen=True)
class _Pattern:
    """A kind of field: its JSON type, its values, where its words come from, and what may be added to its key."""

    type: str
    kinds: tuple[str, ...]
    words: str
    tell: str
    keys: tuple[str, ...] = ("{0}",)


_STRINGS = (*_MADE_UP_KINDS["string"], "full_name", "city_state", "phone", "url", "date", "time", "any_text")
_PERSON = _Pattern("string", _NAME_KINDS, "people", "tell person", ("{0}",) * 6 + ("{0}_name", "name_of_{0}"))
_PATTERNS: tuple[tuple[float, _Pattern], ...] = (
    (34, _Pattern("string", _STRINGS, "attributes", "tell one", ("{0}",) * 9 + ("{0}_value", "the_{0}"))),
    (16, _PERSON),
    (12, _Pattern("integer", ("small", "integer"), "counts", "tell count", ("{0}",) * 6 + ("number_of_{0}",))),
    (8, _Pattern("integer", ("integer", "small"), "measures", "tell amount", ("{0}",) * 6 + ("{0}_value",))),
    (12, _Pattern("number", ("amount",), "measures", "tell amount", ("{0}",) * 6 + ("{0}_value", "measured_{0}"))),
    (10, _Pattern("strings", ("words", "words", "names"), "lists", "tell list", ("{0}",) * 6 + ("list_of_{0}",))),
    (3, _Pattern("integers", ("numbers",), "lists", "tell list")),
    (9, _Pattern("boolean", (), "participles", "", ("{0}", "is_{0}"))),
)
_PLAIN_PATTERNS: tuple[tuple[float, _Pattern], ...] = (
    (16, _Pattern("string", ("title", "phrase", "word"), "texts", "tell one", ("{0}",) * 6 + ("the_{0}",))),
    (22, _PERSON),
    (8, _Pattern("string", ("date",), "dates", "tell one", ("{0}", "{0}", "{0}_date"))),
    (6, _Pattern("string", ("time",), "times", "tell one", ("{0}", "{0}", "{0}_time"))),
    (10, _Pattern("string", ("place", "city_state", "accented"), "places", "tell one", ("{0}",) * 4 + ("{0}_city",))),
    (5, _Pattern("string", ("email",), "mails", "tell one")),
    (5, _Pattern("string", ("colour",), "colours", "tell one", ("{0}", "{0}_colour"))),
    (6, _Pattern("string", ("code",), "codes", "tell one")),
    (3, _Pattern("string", ("phone",), "phones", "tell one")),
    (3, _Pattern("string", ("url",), "links", "tell one")),
    (10, _Pattern("integer", ("small", "integer"), "counts", "tell count", ("{0}",) * 6 + ("number_of_{0}",))),
    (6, _Pattern("integer", ("integer", "small"), "measures", "tell amount")),
    (12, _Pattern("number", ("amount",), "measures", "tell amount", ("{0}",) * 6 + ("total_{0}",))),
    (12, _Pattern("strings", ("words", "words", "names"), "lists", "tell list")),
    (9, _Pattern("boolean", (), "participles", "", ("{0}", "is_{0}"))),
)


@cache
def known_scenes(frames: str) -> tuple[Scene, ...]:
    """Return the scenes of a list."""
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


def made_up_field(source: Source) -> Field:
    """Return a field that belongs to no scene; a held-out one has a key without meaning."""
    if source.frames == "train":
        return composed_field(source)
    json_type = source.rng.choices(list(_MADE_UP_KINDS), (50, 20, 10, 10, 10))[0]
    clauses = read_blocks(f"{source.frames}/extraction.txt")["made up"]
    return Field("_".join(_made_up_words(source)), json_type, _MADE_UP_KINDS[json_type], clauses)


def composed_field(
    source: Source, noun: str = "whole", pattern: _Pattern | None = None, plain: bool | None = None
) -> Field:
    """Return a field of training: any words for a key, and sentences about a thing put together from parts.

    Args:
        source: Randomness.
        noun: What the text is about.
        pattern: What kind of field; drawn if left out.
        plain: Whether key, value and sentences are as people write them; drawn if left out.
    """
    plain = source.chance(_PLAIN) if plain is None else plain
    patterns = _PLAIN_PATTERNS if plain else _PATTERNS
    pattern = pattern or source.rng.choices([one for _, one in patterns], [weight for weight, _ in patterns])[0]
    words = _label(source, pattern.words, 0 if plain else _MADE_UP_LABELS)
    key = source.rng.choice(pattern.keys).format("_".join(words))
    label = " ".join(words)
    if pattern.type == "boolean":
        answers = ("yes", "no") * _CLAUSES
        clauses = tuple(f"{answer}: {_clause(source, f'tell {answer}', label, noun, plain)}" for answer in answers)
    else:
        clauses = tuple(_clause(source, pattern.tell, label, noun, plain) for _ in range(_CLAUSES))
    return Field(key, pattern.type, pattern.kinds, clauses)


def _clause(source: Source, heading: str, label: str, noun: str, plain: bool) -> str:
    line = expand(source, "clauses", f"{heading} plainly" if plain else heading)
    return line.replace("{label}", label).replace("{noun}", noun)


def _made_up_words(source: Source) -> list[str]:
    return [source.made_up_word() for _ in range(source.rng.choice((1, 1, 2)))]


def _label(source: Source, words: str, made_up: float) -> list[str]:
    """Return the words of a key, from the vocabulary or, so often, made up."""
    if source.chance(made_up):
        return _made_up_words(source)
    word = source.rng.choice(vocabulary(words))
    if source.chance(0.25):
        first = source.made_up_word() if made_up and source.chance(0.3) else source.rng.choice(vocabulary("modifiers"))
        return [first, word]
    return [word]


def composed_scene(source: Source, count: int) -> Scene:
    """Return a scene of training about anything, with as many fields."""
    is_person, plain = source.chance(0.2), source.chance(_PLAIN)
    made_up = not plain and source.chance(0.3)
    nouns = vocabulary("kinds of people" if is_person else "things")
    noun = source.made_up_word() if made_up else source.rng.choice(nouns)
    pronouns = (("he", "his"), ("she", "her")) if is_person else (("it", "its"),)
    fields = _distinct_fields(source, count, noun, plain)
    article = "an" if noun[0] in "aeiou" else "a"
    return Scene(noun, f"{article} {noun}", _subject(source, noun, is_person), pronouns, fields)


def _distinct_fields(source: Source, count: int, noun: str, plain: bool) -> tuple[tuple[tuple[str, ...], Field], ...]:
    """Return fields whose keys share no word, with an unlabelled one among them at times."""
    fields = [_unlabelled_field(source)] if source.chance(_UNLABELLED) else []
    taken = {noun, *(field.key for field in fields)}
    person = _PERSON if source.chance(_PERSON_BESIDE) else None
    while len(fields) < count:
        field = composed_field(source, noun, None if fields else person, plain)
        words = set(field.key.split("_"))
        if words.isdisjoint(taken):
            taken |= words
            fields.append(field)
    return tuple(((field.key,), field) for field in fields)


def _subject(source: Source, noun: str, is_person: bool) -> Field:
    kinds: tuple[str, ...] = _NAME_KINDS if is_person else (source.rng.choice(_SUBJECT_KINDS),)
    if is_person and source.chance(0.5):
        return Field(source.rng.choice(("name", noun, f"{noun}_name")), "string", kinds, ("{value}", f"the {noun}"))
    named = expand(source, "clauses", "name it").replace("{noun}", noun)
    draw = source.rng.random()
    if draw < _NAMED_ALONE:
        named, kinds = "the {value}", ("title", "name")
    elif draw < _NAMED_ALONE + _NAMED_BARELY:
        named = f"the {noun} {{value}}"
    unnamed = expand(source, "clauses", "unnamed").replace("{noun}", noun)
    return Field(_subject_key(source, noun), "string", kinds, (named, unnamed))


def _subject_key(source: Source, noun: str) -> str:
    """Return a key for the name of a thing: the thing, a longer word for it, or a word for anything."""
    draw = source.rng.random()
    if draw < 0.4:
        return noun
    if draw < 0.7:
        return f"{noun}_{source.rng.choice(vocabulary('suffixes'))}"
    if draw < 0.85:
        return source.made_up_word() + noun
    return source.rng.choice(vocabulary("hypernyms"))


def _unlabelled_field(source: Source) -> Field:
    """Return a field for somebody whom the text does not call by the key, so that only the sense tells who it is."""
    key, clause = source.rng.choice(vocabulary("people")), expand(source, "clauses", "tell unlabelled person")
    return Field(key, "string", _NAME_KINDS, (clause,), labelled=False)


def value_of(source: Source, field: Field) -> Value:
    """Return a value for a field."""
    if field.type == "boolean":
        yes = source.chance(0.5)
        return Value("yes" if yes else "no", yes)
    return draw_value(source, source.rng.choice(field.kinds))


def untold_field(source: Source, scene: Scene, taken: Sequence[Field]) -> Field:
    """Return a field that the text does not tell."""
    clauses = {field.clauses for field in taken}
    untold = [(keys, field) for keys, field in scene.fields if field.clauses not in clauses]
    keys = {field.key for field in taken}
    if untold and source.chance(0.8):
        field = known_field(source, *source.rng.choice(untold))
        if field.key not in keys:
            return field
    return made_up_field(source)


def known_field(source: Source, keys: tuple[str, ...], field: Field) -> Field:
    """Return a scene's field under one of its keys."""
    return replace(field, key=source.rng.choice(keys))
