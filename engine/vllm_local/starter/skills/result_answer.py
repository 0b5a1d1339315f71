"""What the assistant says of a tool's result: one convention for each form that a result may have.

The answer is a function of the result's text alone, whichever tool it came from:

========================================  ==================================================
Result                                    Answer
========================================  ==================================================
``It is 9 degrees in Vark``               the same text, closed with a full stop
``42``, ``QX-482``, ``"Anna"``            The result is 42.
``{"sky": "clear", "wind_speed": 9}``     The sky is clear and the wind speed is 9.
``[{"name": "Bo"}, {"name": "Li"}]``      The name is Bo. The name is Li.
``["a", "b", "c"]``, or one a line        The results are a, b and c.
nothing, ``null``, ``[]``, ``{}``         There is no result.
``Error: bad date``                       I am sorry, the tool failed: bad date.
========================================  ==================================================

In an object true and false are "yes" and "no", null is "unknown", and a key that ends in "s" takes "are".

Of an error's text these prefixes are cut: "Error invoking tool … with error:", and any one to three words that end in
"error", "failed" or "failure" and a colon ("Error:", "Tool error:", "Request failed:"). So is a closing "Please fix …".
An exception's name ("ValueError: bad date") and an HTTP status ("404 Not Found": 400 to 599 and words with
capitals) stay.
"""

from __future__ import annotations

import json
import re
from typing import Any

from vllm_local.starter.values import listing

_APOLOGY = "I am sorry, the tool failed: "
_NOTHING = "There is no result."
_SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？")
_EMPTY = ("", "null", "none", "[]", "{}", '""')
_INVOKING = re.compile(r"Error invoking tool .*? with error:\s*", re.DOTALL)
_PREFIX = re.compile(r"(?:\w+ ){0,2}(?:error|failed|failure):\s*", re.IGNORECASE)
_EXCEPTION = re.compile(r"\w+(?:Error|Exception):\s")
_HTTP = re.compile(r"[45]\d\d(?: [A-Z][\w'-]*)+")
_ADVICE = re.compile(r"\s*Please fix\b.*$", re.DOTALL)


def result_answer(content: str) -> str:
    """Return what the assistant says of a result.

    Args:
        content: The text of the tool's message.
    """
    text = content.strip()
    if text.lower() in _EMPTY:
        return _NOTHING
    if text[0] in '{["':
        try:
            # Numbers stay as they are written.
            return _of_json(json.loads(text, parse_int=str, parse_float=str))
        except ValueError:
            return _of_text(text)
    return _of_text(text)


def _of_json(value: Any) -> str:
    if isinstance(value, str):
        return _of_text(value.strip()) if value.strip() else _NOTHING
    if isinstance(value, dict):
        return _of_object(value)
    if value and all(isinstance(row, dict) for row in value):
        return " ".join(_of_object(row) for row in value)
    return _results([_said(item) for item in value])


def _of_text(text: str) -> str:
    if _is_error(text):
        return _sorry(text)
    lines = [line.strip().removeprefix("- ") for line in text.splitlines() if line.strip()]
    if any(line.endswith(_SENTENCE_ENDS) for line in lines):
        return _repeated(" ".join(lines))
    if len(lines) > 1 or len(text.split()) == 1:
        return _results(lines)
    return _repeated(text)


def _of_object(fields: dict[str, Any]) -> str:
    failure = _failure(fields)
    if failure:
        return _sorry(failure)
    leaves = _leaves(fields)
    if not leaves or (len(leaves) == 1 and leaves[0][1] in (None, "", [])):
        return _NOTHING
    clauses = [f"the {_words(key)} {_verb(key)} {_said(value)}" for key, value in leaves]
    sentence = listing(clauses)
    return _closed(sentence[0].upper() + sentence[1:])


def _leaves(fields: dict[str, Any]) -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for key, value in fields.items():
        leaves += _leaves(value) if isinstance(value, dict) else [(key, value)]
    return leaves


def _words(key: str) -> str:
    return key.replace("_", " ").replace("-", " ").strip()


def _verb(key: str) -> str:
    return "are" if key.endswith("s") and not key.endswith(("ss", "us", "is")) else "is"


def _said(value: Any) -> str:
    if value is None or value in ("", []):
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return listing([_said(item) for item in value])
    if isinstance(value, dict):
        return listing([f"{_words(key)} {_said(leaf)}" for key, leaf in _leaves(value)])
    return str(value).strip().removesuffix(".")


def _results(items: list[str]) -> str:
    if not items:
        return _NOTHING
    return _closed(f"The result is {items[0]}" if len(items) == 1 else f"The results are {listing(items)}")


def _repeated(text: str) -> str:
    return f"{text}." if text[-1].isalnum() else text


def _closed(text: str) -> str:
    return text if text.endswith(_SENTENCE_ENDS) else f"{text}."


def _failure(fields: dict[str, Any]) -> str:
    """Return the message of an object that reports an error, else an empty text."""
    error = fields.get("error")
    if isinstance(error, dict):
        return str(error.get("message") or "unknown error")
    if isinstance(error, str) and error.strip():
        return error.strip()
    if error is True or fields.get("status") == "error":
        return str(fields.get("message") or "unknown error")
    return ""


def _is_error(text: str) -> bool:
    return bool(_INVOKING.match(text) or _PREFIX.match(text) or _EXCEPTION.match(text) or _HTTP.fullmatch(text))


def _sorry(text: str) -> str:
    match = _INVOKING.match(text) or _PREFIX.match(text)
    message = _ADVICE.sub("", text[match.end() :] if match else text)
    return _closed(_APOLOGY + (" ".join(message.split()) or "unknown error"))
