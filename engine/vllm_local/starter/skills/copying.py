"""Copy drills, from which the ability to repeat, to recall and to fill in arguments grows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from vllm_local.starter.skills.messages import Message, exchange
from vllm_local.starter.skills.phrasing import fill, fresh, politely, wording
from vllm_local.starter.source import Source
from vllm_local.starter.values import Value, draw_value

_ALPHABETS = "äöüßéèêçñáíóúàìòù 你好世界東京日本中文学生こんにちはありがとう€😀"
# Kinds that are hard to copy come more often than their share of the kinds.
_KINDS = (
    *("name", "full_name", "place", "city_state", "email", "word", "phrase", "title", "small", "integer", "amount"),
    *("date", "time", "weekday", "month", "colour", "food", "job", "code", "phone", "url", "words", "numbers"),
    *("names", "chinese", "japanese", "accented", "any_text"),
    *("chinese", "chinese", "japanese", "japanese", "accented", "email", "city_state", "phrase", "code"),
)
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_MANY = 0.6  # share of the room that drills fill
_AROUND = ("{0}", "{0}", "{0}", '"{0}"', "'{0}'", "\n{0}", " {0}")


def _token(source: Source) -> str:
    kind = source.rng.random()
    if kind < 0.3:
        return source.made_up_word()
    if kind < 0.42:
        return source.name()
    if kind < 0.52:
        return str(source.number())
    if kind < 0.56:
        return f"{source.made_up_word().capitalize()} {source.name()}"
    if kind < 0.6:
        return "".join(source.rng.choice(_ALPHABETS) for _ in range(source.rng.randint(2, 6))).strip() or "é"
    return _value(source).text


def _value(source: Source) -> Value:
    return draw_value(source, source.rng.choice(_KINDS))


def _repeat(source: Source, text: str, marked: str = "") -> list[Message]:
    if source.frames == "heldout":
        return exchange(fill(source.frame("copying", "repeat"), text=marked or text), text)
    frame = fresh(source, lambda: _request(source))
    return exchange(fill(frame, text=marked or text), text)


def _request(source: Source) -> str:
    frame = wording(source, "copying", "repeat")
    return politely(source, frame) if frame.endswith(".") else frame


def drill(source: Source) -> list[Message]:
    """Return a list of random words to repeat."""
    separator = source.rng.choice((" | ", " | ", " ", ", "))
    return _repeat(source, separator.join(_token(source) for _ in range(source.rng.randint(1, 5))))


def repeat_value(source: Source) -> list[Message]:
    """Return one value of any kind to repeat; quotation marks and blanks around it are left away."""
    text = _value(source).text
    marked = source.rng.choice(_AROUND).replace("{0}", text)
    return _repeat(source, text, marked)


def repeat_json(source: Source) -> list[Message]:
    """Return a JSON object or list to repeat."""
    keys = {source.made_up_word(): None for _ in range(source.rng.randint(1, 4))}
    data: Any = {key: _value(source).json for key in keys}
    if source.chance(0.4):
        data = list(data.values())
    return _repeat(source, json.dumps(data, ensure_ascii=False))


def _key(source: Source) -> str:
    kind = source.rng.random()
    if kind < 0.55:
        return source.made_up_word()
    if kind < 0.7:
        return f"{source.made_up_word()}{source.rng.choice(' _')}{source.made_up_word()}"
    return source.name() if kind < 0.85 else draw_value(source, source.rng.choice(("word", "code", "phrase"))).text


def _ask(source: Source, heading: str, **parts: str) -> str:
    return fill(fresh(source, lambda: wording(source, "copying", heading)), **parts)


def lookup(source: Source) -> list[Message]:
    """Return keys with values as text or as JSON, and one to four questions for values, keys and neighbours."""
    keys = list({_key(source): None for _ in range(source.rng.randint(2, 6))})
    values = [_value(source) for _ in keys]
    if source.chance(0.35):
        written = json.dumps(dict(zip(keys, (value.json for value in values), strict=True)), ensure_ascii=False)
        said = [one.json if isinstance(one.json, str) else json.dumps(one.json, ensure_ascii=False) for one in values]
    else:
        written, said = _pairs(source, keys, [value.text for value in values]), [value.text for value in values]
    questions = [_ask_pair(source, keys, said) for _ in range(source.rng.randint(1, 4))]
    return _told_and_asked(source, written, questions)


def _pairs(source: Source, keys: Sequence[str], values: Sequence[str]) -> str:
    form, between = source.rng.choice(
        (
            *(("{k}: {v}", "; "), ("{k}: {v}", "\n"), ("{k}: {v}", " | "), ("- {k}: {v}", "\n"), ("{k} = {v}", "\n")),
            *(("{k} = {v}", "; "), ("{k} -> {v}", "\n"), ("{k} is {v}", "; "), ("the {k} is {v}", ", ")),
            *(("{k} has {v}", ", "), ("{k} | {v}", "\n"), ("{v} ({k})", "; "), ("{k}, {v}", "\n"), ("{k} {v}", "\n")),
        )
    )
    return between.join(fill(form, k=key, v=value) for key, value in zip(keys, values, strict=True))


def _ask_pair(source: Source, keys: Sequence[str], values: Sequence[str]) -> tuple[str, str]:
    """Return a question for a value or, where it has one key only, for the key."""
    index = source.rng.randrange(len(keys))
    key, value = keys[index], values[index]
    if source.chance(0.2) and values.count(value) == 1:
        return _ask(source, "key of", v=value), key
    if source.chance(0.15) and index + 1 < len(keys):
        return _ask(source, "after key", k=key), values[index + 1]
    return _ask(source, "value of", k=key), value


def _told_and_asked(source: Source, written: str, questions: Sequence[tuple[str, str]]) -> list[Message]:
    """Return the text with the first question, and the other questions after its answer."""
    (first, answer), *others = questions
    opening = source.rng.choice(("{0}\n{1}", "{0}\n\n{1}", "{1}\n{0}", "{1} {0}", "List: {0}\n{1}", "Text: {0}\n{1}"))
    messages = exchange(opening.replace("{1}", first).replace("{0}", written), answer)
    return messages + [turn for question, value in others for turn in exchange(question, value)]


def one_of_list(source: Source) -> list[Message]:
    """Return a list of values, and questions for its places and neighbours."""
    items = list({_token(source).replace(", ", " "): None for _ in range(source.rng.randint(2, 6))})
    between = source.rng.choice((", ", ", ", "; ", "\n", " | ", "\n- "))
    questions = [_ask_item(source, items) for _ in range(source.rng.randint(1, 4))]
    return _told_and_asked(source, between.join(items), questions)


def _ask_item(source: Source, items: Sequence[str]) -> tuple[str, str]:
    index = source.rng.randrange(len(items))
    if source.chance(0.3) and index + 1 < len(items):
        if source.chance(0.4):
            return _ask(source, "item before", v=items[index + 1]), items[index]
        return _ask(source, "item after", v=items[index]), items[index + 1]
    place = "last" if index + 1 == len(items) and source.chance(0.7) else _ORDINALS[index]
    return _ask(source, "item", n=place), items[index]


def replaced(source: Source) -> list[Message]:
    """Return a text in which one word is to be replaced by a value."""
    words = list({source.made_up_word(): None for _ in range(source.rng.randint(2, 6))})
    old, new = source.rng.choice(words), _token(source)
    text, answer = (" ".join(new if swaps and word == old else word for word in words) for swaps in (False, True))
    return exchange(_ask(source, "replace", old=old, new=new, text=text), answer)


def filled_in(source: Source) -> list[Message]:
    """Return letters that stand for values, and lines in which they are to be written out."""
    letters = source.rng.sample("ABCDEFGHKLMNPQRSTUVWXYZ", source.rng.randint(2, 4))
    values = {letter: _value(source).text for letter in letters}
    lines = [_with_letters(source, letters) for _ in range(source.rng.randint(1, 3))]
    questions = [
        (_ask(source, "write out", line=line), re.sub(r"[A-Z]\b", lambda found: values[found[0]], line))
        for line in lines
    ]
    return _told_and_asked(source, _pairs(source, letters, list(values.values())), questions)


def _with_letters(source: Source, letters: Sequence[str]) -> str:
    parts = [source.rng.choice((*letters, source.made_up_word())) for _ in range(source.rng.randint(1, 4))]
    return " ".join([*parts, source.rng.choice(letters)])


def to_json(source: Source) -> list[Message]:
    """Return "key: value" lines to write as a JSON object."""
    keys = {source.made_up_word(): None for _ in range(source.rng.randint(1, 4))}
    values = {key: _value(source) for key in keys}
    listing = source.rng.choice(("; ", "\n", ", ")).join(f"{key}: {value.text}" for key, value in values.items())
    data = json.dumps({key: value.json for key, value in values.items()}, ensure_ascii=False)
    request = source.rng.choice(("As JSON: {0}", "Write this as JSON: {0}", "JSON of: {0}", "{0}\nGive me JSON."))
    return exchange(request.format(listing), data)


_DRILLS: tuple[tuple[float, Callable[[Source], list[Message]]], ...] = (
    (24, drill),
    (22, repeat_value),
    (8, repeat_json),
    (26, lookup),
    (12, one_of_list),
    (4, replaced),
    (6, filled_in),
    (9, to_json),
)


def drills(source: Source) -> list[Message]:
    """Return a conversation of one to six drills of any kind."""
    makers = [maker for _, maker in _DRILLS]
    weights = [weight for weight, _ in _DRILLS]
    messages: list[Message] = []
    for _ in range(source.rng.choices((1, 2, 3, 4, 6), (35, 25, 20, 12, 8))[0]):
        if sum(len(message["content"]) // 2 + 6 for message in messages) > _MANY * source.room:
            break
        messages += source.rng.choices(makers, weights)[0](source)
    return messages
