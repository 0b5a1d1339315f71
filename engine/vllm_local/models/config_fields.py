"""Reads fields of config.json with their types and bounds checked, so that every error names the field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from vllm_local.errors import CorruptModelError, ModelNotFoundError, UnsupportedModelError

CONFIG_NAME = "config.json"

MAX_CONFIG_BYTES = 16 * 2**20
"""No real config.json is longer; a wrong file is not read into memory."""

MAX_SIZE = 2**26
"""Bound of every size in a config: far above real ones, far below what makes their products overflow."""

MAX_NUMBER = 1e12
"""Bound of every other number: its powers and products with sizes stay finite."""

T = TypeVar("T")

_REQUIRED: Any = object()


class ConfigFields:
    """The fields of config.json, or of a mapping inside it.

    A field that is null counts as absent: transformers writes many defaults so.

    Attributes:
        source: The file and the mapping in it, for error messages.
    """

    def __init__(self, fields: Mapping[str, Any], source: str) -> None:
        self._fields = fields
        self.source = source

    def __contains__(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def names(self) -> list[str]:
        """Returns the names of the fields that are present."""
        return [name for name in self._fields if name in self]

    def value(self, name: str, default: Any = _REQUIRED) -> Any:
        """Returns a field of any type.

        Raises:
            CorruptModelError: It is absent and has no default.
        """
        if name in self:
            return self._fields[name]
        if default is _REQUIRED:
            raise CorruptModelError(f"{self.source} has no {name!r}; is the file complete?")
        return default

    def integer(self, name: str, default: int | None = _REQUIRED, *, minimum: int = 1, maximum: int = MAX_SIZE) -> int:
        """Returns a whole number within its bounds."""
        value = self.value(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            self._refuse(name, f"a whole number from {minimum} to {maximum}", value)
        return int(value)

    def number(self, name: str, default: float | None = _REQUIRED, *, above: float = 0.0) -> float:
        """Returns a number above a bound and at most `MAX_NUMBER`."""
        value = self.value(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not above < value <= MAX_NUMBER:
            self._refuse(name, f"a number above {above:g} and at most {MAX_NUMBER:g}", value)
        return float(value)

    def boolean(self, name: str, default: bool | None = _REQUIRED) -> bool:
        """Returns true or false."""
        value = self.value(name, default)
        if not isinstance(value, bool):
            self._refuse(name, "true or false", value)
        return bool(value)

    def choice(self, name: str, choices: Mapping[str, T], default: str | None = _REQUIRED) -> T:
        """Returns what a word stands for.

        Raises:
            UnsupportedModelError: The word is not among the choices.
        """
        value = self.value(name, default)
        if not isinstance(value, str):
            self._refuse(name, "a word", value)
        if value not in choices:
            known = ", ".join(choices)
            raise UnsupportedModelError(f"{self.source}: {name}={value!r} is not supported; known are {known}.")
        return choices[value]

    def mapping(self, name: str) -> ConfigFields:
        """Returns the fields of a mapping inside, none if it is absent."""
        value = self.value(name, {})
        if not isinstance(value, Mapping):
            self._refuse(name, "a mapping", value)
        return ConfigFields(value, f"{self.source} ({name})")

    def require(self, name: str, *allowed: object) -> None:
        """Checks that a field is absent or has a value that this engine implements.

        Raises:
            UnsupportedModelError: It has another value.
        """
        if name in self and self._fields[name] not in allowed:
            wanted = " or ".join(repr(item) for item in allowed) or "absent"
            raise UnsupportedModelError(
                f"{self.source}: {name}={self._fields[name]!r} is not supported by this engine; it must be {wanted}."
            )

    def _refuse(self, name: str, wanted: str, value: object) -> None:
        raise CorruptModelError(f"{self.source}: {name} must be {wanted}, got {value!r}.")


def read_config_fields(folder: Path) -> ConfigFields:
    """Reads config.json of a model's folder.

    Raises:
        ModelNotFoundError: There is none.
        CorruptModelError: It is not a JSON object.
    """
    path = folder / CONFIG_NAME
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise CorruptModelError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes: this is no model's config.")
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        message = f"{folder} has no {CONFIG_NAME}; give the folder of a model as transformers saves it."
        raise ModelNotFoundError(message) from error
    except (ValueError, RecursionError) as error:
        raise CorruptModelError(f"{path} is not valid JSON ({error}); download the model again.") from error
    if not isinstance(fields, dict):
        raise CorruptModelError(f"{path} must hold a JSON object, got a {type(fields).__name__}.")
    return ConfigFields(fields, str(path))
