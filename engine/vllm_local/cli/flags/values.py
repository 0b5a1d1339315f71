"""Values of options, from the texts on a command line."""

from __future__ import annotations

import json
import re
from argparse import ArgumentTypeError
from typing import Any, Literal

_SUFFIXED = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


def integer(text: str) -> int:
    """Reads 8192, 1k (1000), 1K (1024), 25.6k (25600), 2g, 2G …; a small letter counts in thousands, as in vLLM."""
    match = _SUFFIXED.fullmatch(text.strip())
    if match is None:
        try:
            return int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is not an integer such as 8192, 8k or 8K") from None
    number, suffix = match.groups()
    base = 1000.0 if suffix.islower() else 1024.0
    if base == 1024 and "." in number:
        raise ArgumentTypeError(f"{text!r} counts in powers of 1024, without decimals; write {text.lower()}")
    return round(float(number) * base ** _POWERS[suffix.lower()])


def integer_or_auto(text: str) -> int | Literal["auto"]:
    """Reads an integer, or "auto" or -1 for whatever fits."""
    return "auto" if text.strip().lower() in {"auto", "-1"} else integer(text)


def dtype_name(text: str) -> str:
    """Reads a number format by any of vLLM's names."""
    return {"half": "float16", "float": "float32"}.get(text, text)


def number(text: str) -> float:
    """Reads a number."""
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number") from None


def optional_text(text: str) -> str | None:
    """Reads a text, where "" and "None" are nothing."""
    return None if text.strip().lower() in {"", "none"} else text


def json_object(text: str) -> dict[str, Any]:
    """Reads a JSON object."""
    value = _json(text)
    if not isinstance(value, dict):
        raise ArgumentTypeError(f'{text!r} is not a JSON object such as \'{{"key": "value"}}\'')
    return value


def json_texts(text: str) -> tuple[str, ...]:
    """Reads a JSON list of texts, or one text that is no JSON."""
    if not text.lstrip().startswith("["):
        return (text,)
    value = _json(text)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ArgumentTypeError(f"{text!r} is not a JSON list of texts such as '[\"*\"]'")
    return tuple(value)


def key_value(text: str) -> tuple[str, str]:
    """Reads KEY=VALUE."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key.strip(), value.strip()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ArgumentTypeError(f"{text!r} is not JSON ({error})") from None
