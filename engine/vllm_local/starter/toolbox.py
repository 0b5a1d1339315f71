"""Tools that the model may call: from the catalogue, composed of a verb and a noun, made up, or of any words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from vllm_local.starter.free_tools import REQUIRED, free_slot, free_tool, settle_edges, words_like
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks, read_lines
from vllm_local.starter.tool import Argument, Slot, Tool

Schema = dict[str, Any]
_PLAIN_PHRASES = (
    "with {key} {value}",
    "with the {key} {value}",
    "{key} {value}",
    "{key}: {value}",
    "whose {key} is {value}",
    "the {key} is {value}",
    "and the {key} should be {value}",
    'with the {key} "{value}"',
)


# How often the arguments of a made-up tool are linked to their values by any word.
_LINKED = 0.3
_REQUIRED = {"train": REQUIRED, "heldout": 0.8}
# How often an argument of a composed tool is said as those of free tools are.
_FREE_SLOT = 0.4
# How often a tool also has an argument of another one, which its requests then leave out.
_SHARED_ARGUMENT = 0.35
# How often the tool that is asked for is of each kind; the many words of free tools teach what the others then use.
_SHARES = {
    "train": {"catalogue": 14, "composed": 44, "made up": 14, "free": 28},
    "heldout": {"catalogue": 40, "composed": 42, "made up": 18},
}


@cache
def catalogue(split: str) -> tuple[Tool, ...]:
    """Return the tools of ``data/<split>/tools.txt``."""
    return tuple(_parse(heading, lines) for heading, lines in read_blocks(f"{split}/tools.txt").items())


def _parse(heading: str, lines: Sequence[str]) -> Tool:
    name, description = (cell.strip() for cell in heading.split("|", 1))
    arguments = tuple(_argument(line) for line in lines if line.startswith(("arg:", "opt:")))
    asks = tuple(line.removeprefix("ask:").strip() for line in lines if line.startswith("ask:"))
    return Tool(name, description, arguments, asks)


def _argument(line: str) -> Argument:
    cells = [cell.strip() for cell in line[4:].split("|")]
    name, json_type, kind, *description = cells
    return Argument(name, json_type, kind, " ".join(description), line.startswith("arg:"))


@dataclass(frozen=True)
class _ListedSlot:
    """An argument of ``data/<split>/slots.txt``: its possible names, type, kind, descriptions and phrases."""

    names: tuple[str, ...]
    type: str
    kind: str
    descriptions: tuple[str, ...]
    phrases: tuple[str, ...]

    def draw(self, source: Source) -> Slot:
        """Draw one name and what the model sees of it; in training other words often take their place."""
        description = source.rng.choice(self.descriptions) if source.chance(0.75) else ""
        name, phrases = source.rng.choice(self.names), self.phrases
        required = source.chance(_REQUIRED[source.values])
        if source.frames == "train" and not self.kind.startswith("bool") and source.chance(0.45):
            if source.chance(0.55):
                name, description = "_".join(source.any_word() for _ in range(source.rng.choice((1, 1, 2)))), ""
            phrases = tuple(line.replace("{key}", name.replace("_", " ")) for line in _PLAIN_PHRASES)
        return Slot(Argument(name, self.type, self.kind, description, required), phrases)


@cache
def _slots(split: str) -> tuple[_ListedSlot, ...]:
    rows = []
    for heading, phrases in read_blocks(f"{split}/slots.txt").items():
        names, kind_of, kind, descriptions = (cell.strip() for cell in heading.split("|"))
        rows.append(_ListedSlot(tuple(names.split(", ")), kind_of, kind, tuple(descriptions.split("; ")), phrases))
    return tuple(rows)


def _draw_slots(source: Source, count: int, verb: str, noun: str) -> list[Slot]:
    drawn: dict[str, Slot] = {}
    for listed in source.rng.sample(_slots(source.values), count):
        is_free = source.frames == source.values == "train" and source.chance(_FREE_SLOT)
        slot = free_slot(source, verb, noun) if is_free else listed.draw(source)
        drawn.setdefault(slot.argument.name, slot)
    return list(drawn.values())


def composed_tool(source: Source, like: Tool | None = None, arguments: int | None = None) -> Tool:
    """Draw a tool of a verb, a noun and arguments.

    Args:
        source: Randomness and lists.
        like: A composed tool with which the new one shares its verb or its noun.
        arguments: How many; drawn if left out.
    """
    rng = source.rng
    lists = read_blocks(f"{source.values}/actions.txt")
    drawn = [source.any_word() if _is_free(source) else rng.choice(lists[kind]) for kind in ("verbs", "nouns")]
    verb, noun = words_like(source, like, *drawn)
    count = rng.choices((0, 1, 2, 3, 4), (8, 34, 34, 18, 6))[0] if arguments is None else arguments
    slots = _draw_slots(source, count, verb, noun)
    return Tool(
        f"{verb}_{noun}".replace(" ", "_"),
        _fill(rng.choice(lists["descriptions"]), verb, noun),
        tuple(slot.argument for slot in slots),
        tuple(_composed_ask(source, verb, noun, slots) for _ in range(2)),
        words=(verb, noun),
        needs_descriptions=any(slot.is_described for slot in slots),
    )


def _is_free(source: Source) -> bool:
    """Whether a word of a composed tool is any word: in training, half of them."""
    return source.values == "train" and source.chance(0.5)


def _fill(line: str, verb: str, noun: str) -> str:
    article = "an" if noun[0] in "aeiou" else "a"
    filled = line.replace("{a noun}", f"{article} {noun}").replace("{noun}", noun).replace("{verb}", verb)
    filled = filled.replace("{Verb}", verb.capitalize())
    return filled.replace("{verbs}", _third(verb)).replace("{Verbs}", _third(verb).capitalize())


def _third(verb: str) -> str:
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x")) else "s")


def _composed_ask(source: Source, verb: str, noun: str, slots: list[Slot]) -> str:
    said = [slot for slot in slots if slot.argument.required or source.chance(0.5)]
    source.rng.shuffle(said)
    joined = source.rng.choice((" ", " ", ", ")).join(_phrases(source, said))
    frame = source.rng.choice(read_blocks(f"{source.frames}/actions.txt")["frames"])
    text = _fill(frame, verb, noun).replace("{slots}", joined)
    return settle_edges(source, text).strip()


def _phrases(source: Source, slots: list[Slot]) -> list[str]:
    """Draw a phrase for each slot; no two begin alike, or nobody could tell their values apart."""
    phrases: dict[str, str] = {}
    for slot in slots:
        starts = {phrase.partition("{value}")[0]: phrase for phrase in slot.phrases}
        free = [start for start in starts if start not in phrases] or list(starts)
        start = source.rng.choice(free)
        phrases[start] = starts[start].replace("{value}", f"{{{slot.argument.name}}}")
    return list(phrases.values())


def made_up_tool(source: Source) -> Tool:
    """Draw a tool whose name means nothing; the request says its name and its arguments."""
    rng, lists = source.rng, read_blocks(f"{source.frames}/made_up_tools.txt")
    words = [source.made_up_word() for _ in range(rng.choice((1, 1, 2)))]
    name = "_".join((*words, *((rng.choice(lists["tails"]),) if source.chance(0.3) else ())))
    arguments = tuple(_made_up_argument(source) for _ in range(rng.choices((0, 1, 2, 3), (15, 45, 28, 12))[0]))
    names = [argument.name for argument in arguments]
    if len(set(names)) < len(names):
        return made_up_tool(source)
    if len(arguments) == 1 and source.chance(0.5):
        asks = [ask.replace("{value}", f"{{{names[0]}}}") for ask in lists["one value"]]
    elif arguments:
        pair, joint = _pair(source, lists, len(arguments)), rng.choice((", ", " and "))
        listed = joint.join(pair.replace("{key}", key).replace("{value}", f"{{{key}}}") for key in names)
        asks = [ask.replace("{pairs}", listed) for ask in lists["with arguments"]]
    else:
        asks = list(lists["without arguments"])
    description = _made_up_description(source, words[-1]) if source.chance(0.8) else ""
    return Tool(name, description, arguments, tuple(ask.replace("{tool}", name) for ask in asks))


def _pair(source: Source, lists: dict[str, tuple[str, ...]], count: int) -> str:
    """Return how an argument is said; where there are several, any word may stand beside each, and shows what it is."""
    if "linked pair" in lists and count > 1 and source.chance(_LINKED):
        return source.rng.choice(lists["linked pair"]).replace("{w}", source.any_word())
    return source.rng.choice(lists["pair"])


def _made_up_argument(source: Source) -> Argument:
    rng = source.rng
    name = source.made_up_word() if source.chance(0.5) else rng.choice(_slots(source.values)).names[0]
    kinds = {"string": ("any_text",), "integer": ("integer", "small"), "number": ("amount",), "array": ("words",)}
    of = rng.choices(tuple(kinds), (55, 30, 10, 5))[0]
    return Argument(name, of, rng.choice(kinds[of]), "", True)


def _made_up_description(source: Source, word: str) -> str:
    line = source.rng.choice(read_blocks(f"{source.frames}/made_up_tools.txt")["descriptions"])
    return line.replace("{word}", word)


def draw_tools(source: Source, count: int, arguments: int | None = None) -> list[Tool]:
    """Draw tools with different names, the first of which is meant to be asked for."""
    shares = _SHARES[source.values]
    kind = source.rng.choices(tuple(shares), tuple(shares.values()))[0]
    tools = [_draw_tool(source, kind, arguments)]
    while len(tools) < count:
        if kind in ("composed", "free") and source.chance(0.4):
            other = _draw_tool(source, kind, None, like=tools[0])
        else:
            other = _draw_tool(source, source.rng.choice((kind, "catalogue", "composed")), None)
        if other.name not in {tool.name for tool in tools}:
            tools.append(other)
    return tools if source.values == "heldout" else [_with_shared(source, tool, tools) for tool in tools]


def _with_shared(source: Source, tool: Tool, tools: Sequence[Tool]) -> Tool:
    """Return the tool, at times with an argument of another one, which no request for it mentions."""
    shared = [argument for other in tools if other is not tool for argument in other.arguments]
    shared = [argument for argument in shared if _is_unlike(argument, tool.arguments)]
    if not tool.arguments or not shared or not source.chance(_SHARED_ARGUMENT):
        return tool
    at = source.rng.randint(0, len(tool.arguments))
    argument = replace(source.rng.choice(shared), required=False)
    return replace(tool, arguments=(*tool.arguments[:at], argument, *tool.arguments[at:]))


def _is_unlike(argument: Argument, others: Sequence[Argument]) -> bool:
    """Whether no value that is said for one of the others could be meant for this argument, which may be left out."""
    numbers = ("integer", "number")
    alike = [other for other in others if other.type == argument.type or {other.type, argument.type} <= set(numbers)]
    kinds = {other.kind.partition(" ")[0] for other in alike}
    named = argument.name in {other.name for other in others}
    return not named and argument.kind.partition(" ")[0] not in kinds and all(other.required for other in alike)


def _draw_tool(source: Source, kind: str, arguments: int | None, like: Tool | None = None) -> Tool:
    if kind == "catalogue":
        fitting = [t for t in catalogue(source.values) if arguments is None or len(t.arguments) == arguments]
        if fitting:
            return source.rng.choice(fitting)
    if kind == "made up" and arguments is None:
        return made_up_tool(source)
    return (free_tool if kind == "free" else composed_tool)(source, like, arguments)


@dataclass(frozen=True)
class Style:
    """How the schemas of one conversation are written."""

    type_first: bool
    described: bool
    union: bool
    documentation: int

    @staticmethod
    def draw(source: Source) -> Style:
        """Draw a style; documentation is long where there is room for it."""
        rng = source.rng
        long = rng.randint(2, 7) if source.room > 2000 else rng.choice((0, 0, 1)) if source.room > 400 else 0
        return Style(source.chance(0.5), source.chance(0.75), source.chance(0.4), long)


def tool_schema(source: Source, tool: Tool, style: Style) -> Schema:
    """Return the tool in OpenAI's shape."""
    lines = read_lines(f"{source.frames}/tool_documentation.txt")
    more = source.rng.sample(lines, min(style.documentation, len(lines)))
    description = " ".join(text for text in (tool.description, *more) if text)
    described = style.described or tool.needs_descriptions
    properties = {argument.name: _property(argument, style, described) for argument in tool.arguments}
    required = [argument.name for argument in tool.arguments if argument.required]
    parameters: Schema = {"type": "object", "properties": properties}
    if not style.type_first:
        parameters = {"properties": properties}
    if required:
        parameters["required"] = required
    parameters.setdefault("type", "object")
    function = {"name": tool.name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function if description else {**_without_description(function)}}


def _without_description(function: Schema) -> Schema:
    return {key: value for key, value in function.items() if key != "description"}


def _property(argument: Argument, style: Style, is_described: bool) -> Schema:
    schema: Schema = {"type": argument.type}
    if argument.type == "array":
        schema["items"] = {"type": "integer" if argument.kind == "numbers" else "string"}
    if argument.kind.startswith("enum "):
        schema["enum"] = list(argument.options)
    if not argument.required:
        schema = {"anyOf": [schema, {"type": "null"}], "default": None} if style.union else {**schema, "default": None}
    if argument.description and is_described:
        described = {"description": argument.description}
        schema = {**schema, **described} if style.type_first else {**described, **schema}
    return schema
