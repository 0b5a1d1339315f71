"""Copy drills, from which the ability to repeat, to recall and to fill in arguments grows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from vllm_local.starter.skills.messages import Message, exchange
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
_ONE_OF_LIST: tuple[tuple[str, int], ...] = (
    ("What is the first?", 0),
    ("What is the first of these?", 0),
    ("Which is the first one?", 0),
    ("Give me the first item.", 0),
    ("What is the second?", 1),
    ("Which is the second one?", 1),
    ("Give me the second item.", 1),
    ("What is the last?", -1),
    ("What is the last of these?", -1),
    ("Which is the last one?", -1),
    ("Give me the last item.", -1),
)
_LIST_OPENINGS = ("{0}. {1}", "Here is a list: {0}. {1}", "List: {0}\n{1}", "{0}\n{1}", "{1} {0}", "{1}\n{0}")
_KEY_QUESTIONS = (
    "What is {0}?",
    "What is the {0}?",
    "What is the value of {0}?",
    "Which value has {0}?",
    "Give me {0}.",
    "Tell me the {0}.",
    "{0}?",
)
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


def _repeat(source: Source, text: str) -> list[Message]:
    return exchange(source.frame("copying", "repeat").replace("{text}", text), text)


def drill(source: Source) -> list[Message]:
    """Return a list of random words to repeat."""
    separator = source.rng.choice((" | ", " | ", " ", ", "))
    return _repeat(source, separator.join(_token(source) for _ in range(source.rng.randint(1, 5))))


def repeat_value(source: Source) -> list[Message]:
    """Return one value of any kind to repeat; quotation marks and blanks around it are left away."""
    text = _value(source).text
    marked = source.rng.choice(_AROUND).replace("{0}", text)
    return exchange(source.frame("copying", "repeat").replace("{text}", marked), text)


def repeat_json(source: Source) -> list[Message]:
    """Return a JSON object or list to repeat."""
    keys = {source.made_up_word(): None for _ in range(source.rng.randint(1, 4))}
    data: Any = {key: _value(source).json for key in keys}
    if source.chance(0.4):
        data = list(data.values())
    return _repeat(source, json.dumps(data, ensure_ascii=False))


def last_of_list(source: Source) -> list[Message]:
    """Return a list of keys with values, and the question for one of them."""
    pairs = {source.made_up_word(): _token(source) for _ in range(source.rng.randint(2, 5))}
    key = source.rng.choice(list(pairs))
    style = source.rng.choice(("; ", "\n", " | ", "\n- "))
    listing = style.join(f"{name}: {value}" for name, value in pairs.items())
    question = source.rng.choice(_KEY_QUESTIONS).format(key)
    end = ". " if style in ("; ", " | ") else "\n"
    return exchange(f"{listing}{end}{question}" if source.chance(0.8) else f"{question}\n{listing}", pairs[key])


def one_of_list(source: Source) -> list[Message]:
    """Return a list of values, and the question for the first, the second or the last."""
    items = [_token(source).replace(", ", " ") for _ in range(source.rng.randint(2, 6))]
    question, place = source.rng.choice(_ONE_OF_LIST)
    listing = source.rng.choice((", ", ", ", "; ", "\n")).join(items)
    return exchange(source.rng.choice(_LIST_OPENINGS).format(listing, question), items[place])


def json_field(source: Source) -> list[Message]:
    """Return a JSON object and the question for one of its fields."""
    keys = list({source.made_up_word(): None for _ in range(source.rng.randint(2, 5))})
    values = [_value(source) for _ in keys]
    index = source.rng.randrange(len(keys))
    data = json.dumps(dict(zip(keys, (value.json for value in values), strict=True)), ensure_ascii=False)
    question = source.rng.choice(_KEY_QUESTIONS).format(keys[index])
    value = values[index].json
    answer = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return exchange(f"{data}\n{question}", answer)


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
    (18, last_of_list),
    (10, one_of_list),
    (9, json_field),
    (9, to_json),
)


def drills(source: Source) -> list[Message]:
    """Return a conversation of one to six drills of any kind."""
    makers = [maker for _, maker in _DRILLS]
    weights = [weight for weight, _ in _DRILLS]
    messages: list[Message] = []
    for _ in range(source.rng.choices((1, 2, 3, 4, 6), (35, 25, 20, 12, 8))[0]):
        if sum(len(message["content"]) // 2 + 6 for message in messages) > 0.6 * source.room:
            break
        messages += source.rng.choices(makers, weights)[0](source)
    return messages
