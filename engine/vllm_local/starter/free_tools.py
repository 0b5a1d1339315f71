"""Tools of words that mean nothing together, for training: nothing about them can be learnt by heart.

Such a tool is found by the words that its name or its description shares with the request, and a value by the words
that its argument's name or description shares with what stands around it, or by its kind. The requests are put
together from parts under ``data/train/free_tools.txt``, whose lines need not make good English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks
from vllm_local.starter.tool import Argument, Slot, Tool

_FILE = "train/free_tools.txt"
_KINDS: tuple[tuple[str, str, int], ...] = (
    *(("string", kind, 5) for kind in ("word", "title", "name", "full_name", "place", "city_state", "email", "date")),
    *(("string", kind, 3) for kind in ("phrase", "time", "code", "phone", "url", "colour", "any_text")),
    *(("string", kind, 6) for kind in ("accented", "chinese", "japanese")),
    *(("string", kind, 1) for kind in ("weekday", "month", "food", "job")),
    ("string", "enum", 9),
    ("integer", "small", 8),
    ("integer", "integer", 11),
    ("number", "amount", 11),
    ("boolean", "bool", 8),
    *(("array", kind, 3) for kind in ("words", "names", "numbers")),
)
# Words by which a kind of value is known; in names and in descriptions.
_TELLING = {
    "place": ("city", "town", "place", "village", "destination"),
    "city_state": ("city", "place", "destination"),
    "email": ("email", "mail", "address", "contact", "recipient", "receiver"),
    "date": ("date", "day", "start", "end", "due_date"),
    "time": ("time", "start_time", "at_time", "o_clock"),
    "weekday": ("day", "weekday"),
    "month": ("month",),
    "name": ("name", "person", "user", "friend", "member", "guest"),
    "full_name": ("person", "owner", "customer", "contact", "full_name", "employee"),
    "phone": ("phone", "telephone", "phone_number"),
    "url": ("link", "url", "website", "address"),
    "colour": ("colour", "color"),
    "code": ("number", "reference", "order", "key", "serial"),
    "small": ("count", "number", "minutes", "people", "days", "items", "level"),
    "integer": ("number", "id", "count", "size", "limit", "length"),
    "amount": ("amount", "price", "cost", "value", "rate", "distance", "factor"),
    "title": ("heading", "book", "film", "company", "event", "course", "text"),
    "phrase": ("text", "message", "query", "topic", "content"),
    "words": ("items", "tags", "words", "things"),
    "names": ("names", "people", "friends", "members"),
    "numbers": ("numbers", "values", "counts"),
}
# Values of small letters need a mark around them, or nobody could tell where they end.
_LOWERCASE = frozenset({"word", "phrase", "colour", "food", "job", "words", "any_text"})
_QUOTED = frozenset({"phrase", "any_text"})
_EDGE = "‖"
# Values never have these words, so one may end before them without a mark.
_AFTER = (
    "with|in|on|at|by|for|from|to|of|about|under|over|near|around|after|before|between|using|taking|having|into|whose|"
    "which|where|when|as|if|or|so|and|please|thanks|thank|now|right|today|tomorrow|tonight|this|soon|because"
)
_ENDS_BEFORE_WORD = 0.6
# Values that nothing else looks like, so that any word may stand before them.
_TELLING_SHAPE = frozenset({"email", "date", "time", "url", "phone", "small", "integer", "amount", "numbers"})
_WORD_BEFORE = 0.12
_BARE, _BARE_OBJECT = 0.4, 0.4
# Share of the arguments that each call has; requests leave out half of the others.
REQUIRED = 0.65
_JOINTS = (" ", " ", " ", ", ", ", ", " and ", ", and ", "; ", " but ", ", then ", ". ", " - ")


def free_tool(source: Source, like: Tool | None = None, arguments: int | None = None) -> Tool:
    """Draw a tool of any words with two ways to ask for it.

    Args:
        source: Randomness and lists.
        like: A tool of a verb and a noun, one of which the new one shares with it.
        arguments: How many; drawn if left out.
    """
    rng = source.rng
    verb, noun = words_like(source, like, source.any_word(), source.any_word())
    lists = read_blocks(_FILE)
    count = rng.choices((0, 1, 2, 3, 4), (8, 30, 36, 20, 6))[0] if arguments is None else arguments
    slots: dict[str, Slot] = {}
    while len(slots) < count:
        slot = free_slot(source, verb, noun)
        slots.setdefault(slot.argument.name, slot)
    slots = _with_bare(source, slots)
    name = _fill(source, rng.choice(lists["names"]), verb, noun)
    described = source.chance(0.85) or not all(word in name.lower() for word in (verb, noun))
    return Tool(
        name,
        _fill(source, rng.choice(lists["descriptions"]), verb, noun) if described else "",
        tuple(slot.argument for slot in slots.values()),
        tuple(_ask(source, verb, noun, list(slots.values())) for _ in range(2)),
        words=(verb, noun),
        needs_descriptions=True,
    )


def words_like(source: Source, like: Tool | None, verb: str, noun: str) -> tuple[str, str]:
    """Return a verb and a noun, one of them that of another tool; the other one is said in all of its requests."""
    if like is None or not like.words:
        return verb, noun
    same_verb, same_noun = like.words
    verb_is_said, noun_is_said = (all(word.lower() in ask.lower() for ask in like.asks) for word in like.words)
    if verb_is_said and (not noun_is_said or source.chance(0.5)):
        return verb, same_noun
    return (same_verb if noun_is_said else verb), noun


def free_slot(source: Source, verb: str, noun: str) -> Slot:
    """Draw an argument of any words, with two phrases that say its value; their edges need `settle_edges`.

    Args:
        source: Randomness and lists.
        verb: What the tool does, for the argument's description.
        noun: What the tool does it with, for the same.
    """
    rng, lists = source.rng, read_blocks(_FILE)
    json_type, kind, _ = rng.choices(_KINDS, [weight for *_, weight in _KINDS])[0]
    name, hint = _argument_name(source, kind), ""
    if source.chance(0.35):
        hint = source.any_word()
    said = hint or _said_name(source, name)
    description = ""
    if hint or source.chance(0.65):
        line = rng.choice(lists["argument descriptions"])
        label = hint or name.replace("_", " ")
        description = _fill(source, line.replace("{key}", label).replace("{Key}", label.capitalize()), verb, noun)
    if kind == "enum":
        kind = "enum " + "/".join({source.any_word(): None for _ in range(rng.randint(2, 4))})
    elif kind == "bool":
        kind = f"bool {rng.choice(lists['yes cues']).replace('{key}', said)}"
    argument = Argument(name, json_type, kind, description, source.chance(REQUIRED))
    return Slot(argument, tuple(_phrase(source, argument, said) for _ in range(2)), is_described=bool(hint))


def _argument_name(source: Source, kind: str) -> str:
    telling = _TELLING.get(kind, ())
    if telling and source.chance(0.4):
        name = source.rng.choice(telling)
        return f"{source.any_word()}_{name}" if source.chance(0.5) else name
    return "_".join(source.any_word() for _ in range(source.rng.choice((1, 1, 1, 2))))


def _said_name(source: Source, name: str) -> str:
    """Return the name in words, or only its last word."""
    return name.rpartition("_")[2] if source.chance(0.4) else name.replace("_", " ")


def _phrase(source: Source, argument: Argument, said: str) -> str:
    lists, kind = read_blocks(_FILE), argument.kind.partition(" ")[0]
    if kind == "bool":
        return "{value}"
    special = {"enum": "enum cues", "small": "number cues", "integer": "number cues", "amount": "number cues"}
    heading = special[kind] if kind in special and source.chance(0.5) else "cues"
    line = source.rng.choice(lists[heading]).replace("{key}", said)
    if kind in _TELLING_SHAPE and source.chance(_WORD_BEFORE):
        line = line.replace("{value}", "{w} {value}")
    return _bounded(source, _words_in(source, line), kind)


def _bounded(source: Source, line: str, kind: str) -> str:
    """Return the line with what shows where a value of small letters begins and ends."""
    if kind not in _LOWERCASE or '"' in line:
        return line
    if kind in _QUOTED and source.chance(0.7):
        return line.replace("{value}", '"{value}"')
    line = line if not line.startswith("{value}") else _EDGE + line
    return line if not line.endswith("{value}") else line + _EDGE


def _with_bare(source: Source, slots: dict[str, Slot]) -> dict[str, Slot]:
    """Let a value now and then stand without a word that tells what it is.

    It is the only one of its type, or the one of several strings that nothing else is said to be.
    """
    types = [slot.argument.type for slot in slots.values()]
    changed = dict(slots)
    for name, slot in slots.items():
        is_number = slot.argument.type in ("integer", "number")
        alone = types.count(slot.argument.type) == 1 and not (is_number and {"integer", "number"} <= set(types))
        if alone and slot.argument.type != "boolean" and source.chance(_BARE):
            changed[name] = _bare(source, slot)
    strings = [name for name, slot in slots.items() if slot.argument.type == "string" and slot.argument.required]
    if types.count("string") > 1 and strings and source.chance(_BARE):
        name = source.rng.choice(strings)
        changed[name] = _bare(source, slots[name])
    return changed


def _bare(source: Source, slot: Slot) -> Slot:
    lines = [source.rng.choice(read_blocks(_FILE)["bare"]) for _ in range(2)]
    phrases = tuple(_bounded(source, line, slot.argument.kind) for line in lines)
    return replace(slot, phrases=phrases, is_bare=True)


def _ask(source: Source, verb: str, noun: str, slots: Sequence[Slot]) -> str:
    rng, lists = source.rng, read_blocks(_FILE)
    said = [slot for slot in slots if slot.argument.required or source.chance(0.5)]
    bare = [slot for slot in said if slot.is_bare]
    if bare and source.chance(_BARE_OBJECT):
        core = _object_core(source, verb, noun, bare[0])
        said.remove(bare[0])
    else:
        core = _core(source, verb, noun)
    phrases = [_named(rng.choice(slot.phrases), slot) for slot in said]
    rng.shuffle(phrases)
    closing = _words_in(source, rng.choice(lists["closings"])) if source.chance(0.3) else ""
    closes_all = source.chance(0.5)
    if not closes_all:
        core = f"{core} {closing}".strip()
    arrangement = rng.choice(lists["arrangements"]) if phrases else "{core}"
    if len(phrases) > 1 and source.chance(0.2):
        arrangement = f"{phrases.pop()}, {arrangement}"
    text = arrangement.replace("{core}", core).replace("{slots}", _joined(source, phrases))
    if closes_all:
        text = f"{text} {closing}".strip()
    if source.chance(0.2):
        aside = _words_in(source, rng.choice(lists["asides"]))
        text = f"{aside} {text}" if source.chance(0.6) else f"{text}. {aside}"
    return _sentence(source, text)


def _named(line: str, slot: Slot) -> str:
    return line.replace("{value}", f"{{{slot.argument.name}}}")


def _object_core(source: Source, verb: str, noun: str, slot: Slot) -> str:
    """Return a core whose verb has the value beside it."""
    lists = read_blocks(_FILE)
    if source.chance(0.4):
        line = _fill(source, source.rng.choice(lists["object sentences"]), verb, noun)
    else:
        line = _opened(source, _fill(source, source.rng.choice(lists["object cores"]), verb, noun))
    return _named(_bounded(source, line, slot.argument.kind), slot)


def _core(source: Source, verb: str, noun: str) -> str:
    rng, lists = source.rng, read_blocks(_FILE)
    if source.chance(0.4):
        return _fill(source, rng.choice(lists["sentences"]), _inflected(source, verb), noun)
    return _opened(source, _fill(source, rng.choice(lists["cores"]), verb, noun))


def _opened(source: Source, core: str) -> str:
    """Return the core, most often behind an opening."""
    openings = read_blocks(_FILE)["openings"]
    return f"{_words_in(source, source.rng.choice(openings))} {core}" if source.chance(0.7) else core


def _inflected(source: Source, verb: str) -> str:
    return verb.removesuffix("e") + source.rng.choice(("ing", "ed")) if source.chance(0.3) else verb


def _joined(source: Source, phrases: Sequence[str]) -> str:
    joint = source.rng.choice(_JOINTS)
    return "".join(phrase + (joint if index < len(phrases) - 1 else "") for index, phrase in enumerate(phrases))


def _sentence(source: Source, text: str) -> str:
    """Return the text with its edges as marks, and with a capital and an end where it pleases."""
    text = settle_edges(source, text)
    if source.chance(0.85):
        text = text[0].upper() + text[1:]
    if text[-1] not in ".?!":
        text += source.rng.choices((".", "?", "!", ""), (55, 20, 5, 20))[0]
    return text


def settle_edges(source: Source, text: str) -> str:
    """Return the text with a comma where a value of small letters begins or ends, unless a mark or a word shows it."""
    text = re.sub(rf"(^|[,.;:(?!-] ?){_EDGE}", r"\1", text)
    text = re.sub(rf"{_EDGE}(?=\s*([,.;:)?!]|$))", "", text)
    text = re.sub(rf"{_EDGE}\s+(?=(?:{_AFTER})\b)", lambda _: " " if source.chance(_ENDS_BEFORE_WORD) else ", ", text)
    text = re.sub(rf"\s*{_EDGE}\s*", ", ", text)
    return re.sub(r"\s+([.,?!:;])", r"\1", text)


def _fill(source: Source, line: str, verb: str, noun: str) -> str:
    article = "an" if noun[0] in "aeiou" else "a"
    for name, word in (("a n", f"{article} {noun}"), ("n", noun), ("v", verb)):
        line = line.replace(f"{{{name}}}", word).replace(f"{{{name.upper()}}}", word.capitalize())
    return _words_in(source, line)


def _words_in(source: Source, line: str) -> str:
    """Return the line with a new word for each place that takes any."""
    line = re.sub("{w}", lambda _: source.any_word(), line)
    return re.sub("{W}", lambda _: source.any_word().capitalize(), line)
