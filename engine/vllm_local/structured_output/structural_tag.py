"""Structural tags, old shape and new: tags in free text, and what stands between them → a constraint.

The old shape is `{"structures": [{"begin", "schema", "end"}], "triggers": [...]}`; the new one is a tree below
`format`, whose kinds are the names in `_KINDS`. Both are vLLM's.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Chain, Constraint, FreeText, Json, Lark, OneOf, Pattern, Repeated, Text


@dataclass(frozen=True)
class StructuralTags:
    """Reads structural tags.

    Attributes:
        parameter: Whose fault an error is.
        whitespace: Of the JSON in them, see `Json`.
    """

    parameter: str
    whitespace: str | None = None

    def read(self, tag: Mapping[str, Any]) -> Constraint:
        """Returns the constraint that structural tags describe.

        Raises:
            InvalidRequestError: They are malformed; the message names the place.
        """
        if "structures" in tag:
            return self._old(tag)
        return self._format(tag.get("format"), "$.format")

    def _old(self, tag: Mapping[str, Any]) -> Constraint:
        triggers = self._texts(tag.get("triggers"), "$.triggers")
        structures = self._list(tag["structures"], "$.structures")
        tags = [self._old_tag(item, f"$.structures[{i}]", triggers) for i, item in enumerate(structures)]
        return _triggered(triggers, tags, at_least_one=False, stop_after_first=False)

    def _old_tag(self, item: Any, path: str, triggers: Sequence[str]) -> Constraint:
        begin, end = self._text(item, "begin", path), self._text(item, "end", path)
        self._check_trigger(begin, triggers, path)
        schema = item.get("schema", item.get("structure", True))
        return Chain((Text(begin), self._json(schema, f"{path}.schema"), Text(end)))

    def _format(self, item: Any, path: str) -> Constraint:
        kind = item.get("type") if isinstance(item, Mapping) else None
        reader = _KINDS.get(kind) if isinstance(kind, str) else None
        if reader is None:
            raise self._error(path, f"must be an object whose type is one of {', '.join(_KINDS)}", item)
        return reader(self, item, path)

    def _const_string(self, item: Mapping[str, Any], path: str) -> Constraint:
        return Text(self._text(item, "value", path))

    def _json_schema(self, item: Mapping[str, Any], path: str) -> Constraint:
        return self._json(item.get("json_schema"), f"{path}.json_schema")

    def _regex(self, item: Mapping[str, Any], path: str) -> Constraint:
        return Pattern(self._text(item, "pattern", path))

    def _grammar(self, item: Mapping[str, Any], path: str) -> Constraint:
        return Lark(self._text(item, "grammar", path))

    def _any_text(self, item: Mapping[str, Any], path: str) -> Constraint:
        return FreeText(self._texts(item.get("excludes", []), f"{path}.excludes"))

    def _sequence(self, item: Mapping[str, Any], path: str) -> Constraint:
        elements = self._list(item.get("elements"), f"{path}.elements")
        return Chain(tuple(self._format(part, f"{path}.elements[{i}]") for i, part in enumerate(elements)))

    def _or(self, item: Mapping[str, Any], path: str) -> Constraint:
        elements = self._list(item.get("elements"), f"{path}.elements")
        return OneOf(tuple(self._format(part, f"{path}.elements[{i}]") for i, part in enumerate(elements)))

    def _tag(self, item: Any, path: str) -> Constraint:
        begin = self._text(item, "begin", path)
        ends = item.get("end")
        ends = self._texts([ends] if isinstance(ends, str) else ends, f"{path}.end")
        content = self._format(item.get("content"), f"{path}.content")
        if isinstance(content, FreeText):
            content = FreeText((*content.without, *(end for end in ends if end)))
        return Chain((Text(begin), content, OneOf(tuple(map(Text, ends))) if len(ends) > 1 else Text(ends[0])))

    def _triggered_tags(self, item: Mapping[str, Any], path: str) -> Constraint:
        triggers = self._texts(item.get("triggers"), f"{path}.triggers")
        tags = []
        for i, tag in enumerate(self._list(item.get("tags"), f"{path}.tags")):
            self._check_trigger(self._text(tag, "begin", f"{path}.tags[{i}]"), triggers, f"{path}.tags[{i}]")
            tags.append(self._tag(tag, f"{path}.tags[{i}]"))
        at_least_one, stop_after_first = self._flags(item, path)
        return _triggered(triggers, tags, at_least_one=at_least_one, stop_after_first=stop_after_first)

    def _tags_with_separator(self, item: Mapping[str, Any], path: str) -> Constraint:
        tags = self._list(item.get("tags"), f"{path}.tags")
        options = OneOf(tuple(self._tag(tag, f"{path}.tags[{i}]") for i, tag in enumerate(tags)))
        at_least_one, stop_after_first = self._flags(item, path)
        separator = Text(self._text(item, "separator", path))
        return Repeated(options, int(at_least_one), 1 if stop_after_first else None, separator)

    def _flags(self, item: Mapping[str, Any], path: str) -> tuple[bool, bool]:
        found = [item.get(name, False) for name in ("at_least_one", "stop_after_first")]
        if any(not isinstance(flag, bool) for flag in found):
            raise self._error(path, "must hold True or False as at_least_one and stop_after_first", found)
        return bool(found[0]), bool(found[1])

    def _json(self, schema: Any, path: str) -> Constraint:
        if not isinstance(schema, (bool, Mapping)):
            raise self._error(path, "must be a JSON schema", schema)
        return Json(schema, self.whitespace)

    def _check_trigger(self, begin: str, triggers: Sequence[str], path: str) -> None:
        if not any(begin.startswith(trigger) for trigger in triggers):
            raise self._error(f"{path}.begin", f"must begin with one of the triggers {list(triggers)}", begin)

    def _text(self, item: Any, name: str, path: str) -> str:
        value = item.get(name) if isinstance(item, Mapping) else None
        if not isinstance(value, str):
            raise self._error(f"{path}.{name}", "must be a text", value)
        return value

    def _texts(self, value: Any, path: str) -> tuple[str, ...]:
        if not isinstance(value, list) or any(not isinstance(item, str) for item in value):
            raise self._error(path, "must be a list of texts", value)
        if not value and not path.endswith(".excludes"):
            raise self._error(path, "must not be empty", value)
        return tuple(value)

    def _list(self, value: Any, path: str) -> list[Any]:
        if not isinstance(value, list) or not value:
            raise self._error(path, "must be a list of at least one", value)
        return value

    def _error(self, path: str, rule: str, value: object) -> InvalidRequestError:
        message = f"The structural tag's {path} {rule}, got {reprlib.repr(value)}."
        return InvalidRequestError(message, parameter=self.parameter)


_KINDS: Mapping[str, Callable[[StructuralTags, Any, str], Constraint]] = {
    "const_string": StructuralTags._const_string,  # noqa: SLF001
    "json_schema": StructuralTags._json_schema,  # noqa: SLF001
    "regex": StructuralTags._regex,  # noqa: SLF001
    "grammar": StructuralTags._grammar,  # noqa: SLF001
    "any_text": StructuralTags._any_text,  # noqa: SLF001
    "sequence": StructuralTags._sequence,  # noqa: SLF001
    "or": StructuralTags._or,  # noqa: SLF001
    "tag": StructuralTags._tag,  # noqa: SLF001
    "triggered_tags": StructuralTags._triggered_tags,  # noqa: SLF001
    "tags_with_separator": StructuralTags._tags_with_separator,  # noqa: SLF001
}


def _triggered(
    triggers: Sequence[str], tags: Sequence[Constraint], *, at_least_one: bool, stop_after_first: bool
) -> Constraint:
    """Free text with tags in it; a trigger in the text begins a tag, always."""
    free = FreeText(tuple(triggers))
    call = Chain((free, OneOf(tuple(tags))))
    calls = Repeated(call, int(at_least_one), 1 if stop_after_first else None)
    if not stop_after_first:
        return Chain((calls, free))
    return call if at_least_one else OneOf((call, free))
