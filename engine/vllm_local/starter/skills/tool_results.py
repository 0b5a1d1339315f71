"""What tools return, in every form that a result may have, and what the assistant then says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from vllm_local.starter.skills.messages import Message, assistant, tool_message
from vllm_local.starter.skills.phrasing import expand, fresh, lowered
from vllm_local.starter.skills.result_answer import result_answer
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks
from vllm_local.starter.values import draw_value

_FILE = "tool_results"
_PLACEHOLDER = re.compile(r"{(\w+)}")
_ANY_WORD, _ANY_VALUE = re.compile("_"), re.compile("#")
_BARE_KINDS = (
    "integer integer integer small amount amount code code date time word word name email url colour weekday month food"
    " chinese japanese accented phone any_text"
)
_ANY_KINDS = _BARE_KINDS + " full_name place city_state title phrase small flag"
_MADE_UP_KEYS = 0.6
_COMPOSED = 0.6
_LONG_FROM = 500  # tokens of room
_LIST_KINDS = "word word name name full_name integer amount code place food colour date title chinese accented"
_LINE_KINDS = "word name full_name integer code place food title phrase email chinese accented"


@dataclass(frozen=True)
class Result:
    """A tool's result and its answer.

    Attributes:
        content: The text of the tool's message.
        answer: What the assistant says of it.
    """

    content: str
    answer: str


def draw_result(source: Source) -> Result:
    """Return the result of a call that did what was asked for.

    Args:
        source: Randomness and lists; ``frames`` chooses the sentences, ``values`` the keys and the values.
    """
    weights, makers = zip(*_makers(), strict=True)
    content = source.rng.choices(makers, weights)[0](source)
    return Result(content, result_answer(content))


def draw_error(source: Source) -> Result:
    """Return the result of a call that failed."""
    content = _json_error(source) if source.chance(0.2) else _error(source)
    return Result(content, result_answer(content))


def combined(results: Iterable[Result]) -> str:
    """Return the answer to several results, in their order."""
    return " ".join(result.answer for result in results)


def result_drill(source: Source) -> list[Message]:
    """Return results and failures, each told in words, without the calls and the tools that they came from."""
    messages: list[Message] = []
    for _ in range(source.rng.randint(1, 4 if source.room < _LONG_FROM else 8)):
        results = [(draw_error if source.chance(0.3) else draw_result)(source)]
        if source.chance(0.1):
            results.append(draw_result(source))
        messages += [tool_message(result.content) for result in results]
        messages.append(assistant(combined(results)))
    return messages


def _makers() -> tuple[tuple[int, Callable[[Source], str]], ...]:
    return (
        (30, _sentences),
        (12, _bare),
        (27, lambda source: _json(source, _object(source))),
        (7, _json_list),
        (5, _lines),
        (2, lambda source: _json(source, _rows(source))),
        (2, _nothing),
    )


def _filled(source: Source, template: str) -> str:
    return _PLACEHOLDER.sub(lambda match: draw_value(source, match[1]).text, template)


def _sentences(source: Source) -> str:
    count = source.rng.choices((1, 2, 3), (65, 25, 10))[0]
    sentences = [_sentence(source) for _ in range(count)]
    text = " ".join(sentence if sentence.endswith(".") else f"{sentence}." for sentence in sentences)
    return text[:-1] if source.chance(0.3) else text


def _sentence(source: Source) -> str:
    if _composes(source):
        return fresh(source, lambda: _filled(source, _composed_sentence(source)))
    return _filled(source, source.frame(_FILE, "sentence"))


def _composes(source: Source) -> bool:
    return source.frames == "train" and source.values == "train" and source.chance(_COMPOSED)


def _composed_sentence(source: Source) -> str:
    """Return a frame of any words and values, which only copying repeats."""
    frame = re.sub(r" +(?=[ :,])", "", expand(source.rng, source.frame(_FILE, "composed"))).strip()
    frame = _ANY_WORD.sub(lambda _: draw_value(source, "word").text, frame)
    frame = _ANY_VALUE.sub(lambda _: f"{{{source.rng.choice(_ANY_KINDS.split()[:-1])}}}", frame)
    return frame if frame[0] == "{" else frame[0].upper() + frame[1:]


def _bare(source: Source) -> str:
    if source.chance(0.06):
        return source.rng.choice(("true", "false", "True", "False", "ok", "done"))
    return draw_value(source, source.rng.choice(_BARE_KINDS.split())).text


def _object(source: Source) -> dict[str, Any]:
    count = source.rng.choices((1, 2, 3, 4, 5), (30, 30, 20, 12, 8))[0]
    fields: dict[str, Any] = {}
    while len(fields) < count:
        key, value = _list_field(source) if source.chance(0.12) else _field(source)
        fields[key] = None if count > 1 and source.chance(0.04) else value
    if source.values == "train" and source.chance(0.12):
        inner = dict(list(fields.items())[: source.rng.randint(1, count)])
        rest = {key: value for key, value in fields.items() if key not in inner}
        return {source.made_up_word(): inner, **rest}
    return fields


def _rows(source: Source) -> list[dict[str, Any]]:
    columns = [_column(source) for _ in range(source.rng.randint(1, 2))]
    count = source.rng.randint(1, 3)
    return [{key: _leaf(source, source.rng.choice(kinds)) for key, kinds in columns} for _ in range(count)]


def _field(source: Source) -> tuple[str, Any]:
    key, kinds = _column(source)
    return key, _leaf(source, source.rng.choice(kinds))


def _column(source: Source) -> tuple[str, list[str]]:
    """Return a key and the kinds of its values; in training most keys are made up and take any."""
    key, kinds = _key_row(source, "key")
    if source.values == "train" and source.chance(_MADE_UP_KEYS):
        return _made_up_key(source, key), _ANY_KINDS.split()
    return key, kinds


def _leaf(source: Source, kind: str) -> Any:
    return source.chance(0.5) if kind == "flag" else draw_value(source, kind).json


def _list_field(source: Source) -> tuple[str, Any]:
    key, kinds = _key_row(source, "list_key")
    if source.values == "train" and source.chance(_MADE_UP_KEYS):
        return _made_up_key(source, key), _items(source, _LIST_KINDS.split(), least=2)
    return key, _items(source, kinds, least=2)


def _key_row(source: Source, heading: str) -> tuple[str, list[str]]:
    row = source.rng.choice(read_blocks(f"{source.values}/{_FILE}.txt")[heading])
    key, kinds = row.split("|")
    return key.strip(), kinds.split()


def _made_up_key(source: Source, key: str) -> str:
    word, other = source.made_up_word(), source.made_up_word()
    known = source.rng.choice(_known_key_words())
    forms = (word, f"{word}_{other}", f"{word}_{known}", f"{known}_{word}", f"{known}_{word}_{other}", f"{word}_{key}")
    made = source.rng.choices(forms, (25, 25, 16, 16, 4, 14))[0]
    # A plural takes "are".
    return f"{made}s" if source.chance(0.1) else made


@cache
def _known_key_words() -> tuple[str, ...]:
    rows = read_blocks(f"train/{_FILE}.txt")
    keys = (line.partition("|")[0].strip() for heading in ("key", "list_key") for line in rows[heading])
    return tuple(sorted({word for key in keys for word in key.split("_")}))


def _items(source: Source, kinds: list[str], least: int = 1) -> list[Any]:
    kind = source.rng.choice(kinds)
    count = source.rng.choices((1, 2, 3, 4, 5), (15, 25, 30, 20, 10))[0]
    return [draw_value(source, kind).json for _ in range(max(least, count))]


def _json(source: Source, value: Any) -> str:
    style = source.rng.random()
    if style < 0.1:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(value, ensure_ascii=False, indent=2 if style > 0.93 else None)


def _json_list(source: Source) -> str:
    return _json(source, _items(source, _LIST_KINDS.split()))


def _lines(source: Source) -> str:
    bullet = "- " if source.chance(0.2) else ""
    return "\n".join(f"{bullet}{item}" for item in _items(source, _LINE_KINDS.split(), least=2))


def _nothing(source: Source) -> str:
    return source.rng.choice(("", "null", "None", "[]", "{}", '{"result": null}', '{"results": []}'))


def _message(source: Source) -> str:
    if _composes(source):
        message = fresh(source, lambda: _filled(source, _composed_sentence(source)))
        return message if source.chance(0.6) else lowered(message)
    return _filled(source, source.frame(_FILE, "error"))


def _error(source: Source) -> str:
    makers = (_prefixed_error, _wrapped_error, _exception, _http_error)
    return source.rng.choices(makers, (60, 15, 18, 7))[0](source)


def _prefixed_error(source: Source) -> str:
    cause = _exception(source) if source.chance(0.08) else _message(source)
    return f"{_prefix(source)}: {cause}"


def _prefix(source: Source) -> str:
    """Return what is cut from an error; in training most begin with any words."""
    if not _composes(source):
        return source.frame(_FILE, "error_prefix")
    words = [draw_value(source, "word").text for _ in range(source.rng.choice((0, 1, 1, 2)))]
    prefix = " ".join([*words, source.rng.choice(("error", "error", "failed", "failure"))])
    return source.rng.choice((prefix.capitalize(), prefix.capitalize(), prefix, prefix.upper()))


def _wrapped_error(source: Source) -> str:
    template, message = source.frame(_FILE, "error_wrapper"), _message(source)
    if "{message}." in template:
        message = message.removesuffix(".")
    if source.chance(0.3):
        template = template.replace("error: ", "error:\n ").replace(" Please", "\n Please")
    before, after = template.split("{message}")
    return f"{_filled(source, before)}{message}{after}"


def _exception(source: Source) -> str:
    name = source.frame(_FILE, "exception")
    if _composes(source):
        words = [draw_value(source, "word").text.capitalize() for _ in range(source.rng.choice((1, 1, 2)))]
        name = "".join([*words, source.rng.choice(("Error", "Error", "Exception"))])
    return f"{name}: {_message(source)}"


def _http_error(source: Source) -> str:
    if _composes(source):
        return f"{source.rng.randint(400, 599)} {draw_value(source, 'title').text}"
    return source.frame(_FILE, "http")


def _json_error(source: Source) -> str:
    message = _message(source)
    forms: tuple[dict[str, Any], ...] = (
        {"error": message},
        {"error": message},
        {"success": False, "error": message},
        {"status": "error", "message": message},
        {"error": {"message": message}},
    )
    return _json(source, source.rng.choice(forms))
