"""The held-out lists, and the search for what stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from tests.engine.starter.leakage import keys, texts, tool_names
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.tables import read_lines

# Numbers and the shapes of sentences are kept apart where they are drawn; test_data.py tests that.
_NO_TEXT = ("numbers", "sums", "shapes")
_PLACEHOLDER = re.compile(r"{([^{} ]*)}")
_LABEL = re.compile(r"^(tell|ask|text|yes|no|clause|system|user|question|say|result): ")
_WITHOUT_SPACES = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
_GAP = "ǂ"
_ANYTHING = r"\b[^|]{1,60}?\b"
# What stands for these is a sum, or the word "sentence".
_KINDS = {"e": r"\b\d[^|]{1,60}?\b", "sentences": r"sentences?"}
_LITERAL_WORDS, _TOO_FEW_WORDS = 4, 2


@dataclass(frozen=True)
class Template:
    """A way to say something.

    Attributes:
        line: As it stands in the list.
        pieces: The literal pieces between its placeholders, plain.
        placeholders: Names of the placeholders.
    """

    line: str
    pieces: tuple[str, ...]
    placeholders: tuple[str, ...]

    @property
    def words(self) -> int:
        """How many literal words it has."""
        return sum(len(re.findall(r"\w+", piece)) for piece in self.pieces)

    @property
    def pattern(self) -> re.Pattern[str]:
        """What a plain text is searched for; a template of few words must be all of a sentence."""
        pattern = re.escape(self.pieces[0]) + "".join(
            f" ?{_KINDS.get(name, _ANYTHING)} ?{re.escape(piece)}"
            for name, piece in zip(self.placeholders, self.pieces[1:], strict=True)
        )
        return re.compile(rf"\b{pattern}\b" if self.words >= _LITERAL_WORDS else rf"(?:^|\| ){pattern}(?: \||$)")


@dataclass(frozen=True)
class HeldOut:
    """What stands in the held-out lists.

    Attributes:
        words: Words, names and phrases that no training text may hold.
        names: Tools' names, and the words that they are made of.
        keys: Names of arguments and of fields.
        templates: Ways to say something.
    """

    words: frozenset[str]
    names: frozenset[str]
    keys: frozenset[str]
    templates: tuple[Template, ...]


def plain(text: str) -> str:
    """Return the words of a text in lower case, single spaces between them, and "|" between its sentences."""
    marked = re.sub(r"[.!?]+(?=\W|$)|\n+", " | ", text.lower())
    return re.sub(r"(?: \|)+", " |", " ".join(re.findall(r"\w+|\|", marked))).strip("| ")


def template_of(line: str) -> Template:
    """Return a list's line as a template."""
    text = _LABEL.sub("", line).replace("\\n", " ")
    pieces = plain(_PLACEHOLDER.sub(_GAP, text)).split(_GAP)
    return Template(line, tuple(piece.strip() for piece in pieces), tuple(_PLACEHOLDER.findall(text)))


def held_out_files() -> list[str]:
    """Return the stems of the held-out lists."""
    folder = files("vllm_local.starter") / "data" / "heldout"
    return sorted(path.name.removesuffix(".txt") for path in folder.iterdir())


@cache
def read_held_out() -> HeldOut:
    """Read every held-out list."""
    words: set[str] = set()
    names: set[str] = set()
    fields: set[str] = set()
    templates: dict[str, Template] = {}
    for stem, heading, line in _lines():
        role = _role(stem, heading, line)
        if role == "names":
            names.add(line.partition("|")[0].strip())
        elif role == "keys":
            fields |= set(_keys_in(stem, line))
        elif role == "words":
            words.add(line.partition("|")[0].strip())
        elif role == "template" and (template := template_of(line)).words > _TOO_FEW_WORDS:
            templates[line] = template
    return HeldOut(frozenset(words), frozenset(names), frozenset(fields), tuple(templates.values()))


def _lines() -> Iterator[tuple[str, str, str]]:
    """Yield (list, heading, line) of everything in the held-out lists; headings are lines too."""
    for stem in held_out_files():
        heading = ""
        for line in read_lines(f"heldout/{stem}.txt"):
            if line.startswith(">"):
                heading = line[1:].strip()
                yield stem, ">", heading
            else:
                yield stem, heading, line


def _role(stem: str, heading: str, line: str) -> str:
    """Say what a line is: "names" of tools, "keys", "words", a "template", or nothing that training must lack."""
    if stem in _NO_TEXT or line.startswith(("answer:", "arg:", "opt:")):
        return ""
    if heading == ">":
        return {"tools": "names", "slots": "keys", "extraction": "keys"}.get(stem, "")
    if stem == "tool_results" and heading == "key":
        return "keys"
    if (stem, heading) in (("actions", "verbs"), ("actions", "nouns"), ("made_up_tools", "tails")):
        return "names"
    if _PLACEHOLDER.search(line) or len(line.split()) >= _LITERAL_WORDS:
        return "template"
    # A scene is no text of its own: "the car".
    return "words" if stem != "extraction" else ""


def _keys_in(stem: str, line: str) -> Iterator[str]:
    """Yield the names of arguments or fields in a list's line."""
    cells = [cell.strip() for cell in line.split("|")]
    if stem == "extraction":
        cells = cells[1:2]
    yield from (key.strip() for cell in cells[:1] for key in cell.split(","))


def held_out_leaks(conversations: Iterable[Conversation], held_out: HeldOut) -> set[str]:
    """Return the held-out words, names, keys and templates that occur."""
    drawn = list(conversations)
    lines = sorted({plain(text) for conversation in drawn for text in texts(conversation)})
    text = "\n".join(f" {line} " for line in lines)
    written = "\n".join(sorted({one for conversation in drawn for one in texts(conversation)}))
    offered = {name for conversation in drawn for name in tool_names(conversation)}
    parts = {part for name in offered for part in name_words(name)} | {name.lower() for name in offered}
    used = {key for conversation in drawn for key in keys(conversation)}
    leaks = {word for word in held_out.words if _occurs(word, text, written)}
    leaks |= {name for name in held_out.names if name.lower() in parts}
    return leaks | (held_out.keys & used) | {one.line for one in held_out.templates if _is_said(one, text, lines)}


def name_words(name: str) -> list[str]:
    """Return the words of a tool's name, in lower case."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")


def _occurs(word: str, text: str, written: str) -> bool:
    """Whether a word is said; one with capitals only as it stands, for "Iris" is a name and "iris" is none."""
    if _WITHOUT_SPACES.search(word):
        return word in written
    if plain(word) not in text:
        return False
    return (word.islower() and f" {plain(word)} " in text) or bool(re.search(rf"\b{re.escape(word)}\b", written))


def _is_said(template: Template, text: str, lines: list[str]) -> bool:
    longest = max(template.pieces, key=len)
    if not longest or longest not in text:
        return False
    pattern = template.pattern
    return any(longest in line and pattern.search(line) for line in lines)
