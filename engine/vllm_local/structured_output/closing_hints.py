"""What a constraint says, before it is compiled, about how its answers end: texts to try, and how far an end may be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from vllm_local.grammar_spec import (
    Chain,
    Constraint,
    FreeText,
    Json,
    Lark,
    OneOf,
    Pattern,
    Repeated,
    Text,
    sub_constraints,
)
from vllm_local.structured_output.json_schema import prepare_schema
from vllm_local.structured_output.regex_size import regex_size
from vllm_local.structured_output.shortest_match import shortest_match
from vllm_local.structured_output.shortest_values import MAX_DEPTH, MAX_TEXT, ShortestValues
from vllm_local.structured_output.tokenizer_bridge import TokenizerBridge

MAX_TEXTS = 24
"""Of each kind."""
MAX_VALUES = 48
"""Short values of a schema's parts that are tried."""
MAX_GROWTH = 1024
_BASE_GROWTH = 8
_FORMAT_GROWTH = 40


class ShortestTexts:
    """Looks for short texts that a constraint allows; guesses that the grammar checks."""

    def __init__(self, bridge: TokenizerBridge, parameter: str) -> None:
        """Looks at nothing yet.

        Args:
            bridge: The model's tokens.
            parameter: Whose fault it is where a schema cannot be prepared.
        """
        self._bridge = bridge
        self._parameter = parameter
        # By identity: a constraint's parts live as long as this looks for their texts.
        self._values: dict[int, ShortestValues] = {}

    def of(self, constraint: Constraint) -> str | None:
        """Returns a short text of a constraint, or None where none was found."""
        ways: Mapping[type, Callable[[Any], str | None]] = {
            Text: lambda text: text.text,
            FreeText: lambda _: "",
            Pattern: lambda pattern: shortest_match(pattern.regex),
            Json: self._json,
            Lark: lambda _: None,
            Chain: lambda chain: _joined([self.of(part) for part in chain.parts], ""),
            OneOf: self._one_of,
            Repeated: self._repeated,
        }
        return ways[type(constraint)](constraint)

    def hints(self, constraint: Constraint) -> list[list[int]]:
        """Returns the tokens of what a constraint's JSON is likely to need as a whole.

        That is names, short values, and what a string must still have that was begun without its pattern.
        """
        parts = [part for part in sub_constraints(constraint) if isinstance(part, Json)]
        names = dict.fromkeys(name for part in parts for name in _required_names(part))
        values = dict.fromkeys(value for part in parts for value in islice(self._values_of(part).all(), MAX_VALUES))
        constants = sorted((json.dumps(value) for part in parts for value in _constants(part.schema)), key=len)
        ends = islice((text for part in parts for text in _pattern_ends(part.schema)), MAX_TEXTS)
        texts = [*ends, *list(names)[:MAX_TEXTS], *sorted(values, key=len)[:MAX_VALUES], *constants[:MAX_TEXTS]]
        return [self._bridge.tokenize(text.encode()) for text in dict.fromkeys(texts)]

    def _json(self, constraint: Json) -> str | None:
        values = self._values_of(constraint)
        return values.of(values.root)

    def _one_of(self, constraint: OneOf) -> str | None:
        found = [text for text in map(self.of, constraint.options) if text is not None]
        return min(found, key=self._count, default=None)

    def _repeated(self, constraint: Repeated) -> str | None:
        if not constraint.minimum:
            return ""
        separator = "" if constraint.separator is None else self.of(constraint.separator)
        part = self.of(constraint.part)
        if separator is None or part is None or constraint.minimum * len(part) > MAX_TEXT:
            return None
        return _joined([part] * constraint.minimum, separator)

    def _values_of(self, part: Json) -> ShortestValues:
        if id(part) not in self._values:
            prepared = prepare_schema(part.schema, closed=part.closed, parameter=self._parameter)
            separators = (", ", ": ") if part.whitespace is None else (",", ":")
            self._values[id(part)] = ShortestValues(prepared, separators, self._count)
        return self._values[id(part)]

    def _count(self, text: str) -> int:
        return len(self._bridge.tokenize(text.encode()))


def _joined(texts: list[str | None], separator: str) -> str | None:
    found = [text for text in texts if text is not None]
    return separator.join(found) if len(found) == len(texts) else None


def fixed_texts(constraint: Constraint, bridge: TokenizerBridge) -> list[list[int]]:
    """Returns the tokens of the texts that a constraint is made of, such as tags."""
    texts = [part.text for part in sub_constraints(constraint) if isinstance(part, Text)][:MAX_TEXTS]
    return [bridge.tokenize(text.encode(), parse_special=True) for text in texts]


def growth(constraint: Constraint, bridge: TokenizerBridge) -> int:
    """Estimates by how many tokens one token may move the end away: by the longest thing that, once begun, must end."""
    sizes = [_BASE_GROWTH]
    for part in sub_constraints(constraint):
        if isinstance(part, Text):
            sizes.append(len(bridge.tokenize(part.text.encode(), parse_special=True)))
        elif isinstance(part, Pattern):
            sizes.append(regex_size(part.regex))
        elif isinstance(part, Json):
            schema_sizes = _Sizes(part.schema, bridge)
            sizes.extend(schema_sizes.of(node) for node in _mappings(part.schema))
    return min(MAX_GROWTH, max(sizes))


class _Sizes:
    """Estimates the tokens of the shortest value of each part of a schema, at its longest alternative."""

    def __init__(self, root: Any, bridge: TokenizerBridge) -> None:
        self._root = root
        self._bridge = bridge
        # By identity: a part that many refer to, or that refers to itself, is looked at once.
        self._known: dict[int, int] = {}

    def of(self, node: Any, depth: int = MAX_DEPTH) -> int:
        """Returns a part's tokens, at most `MAX_GROWTH`; what lies deeper counts as one."""
        if not isinstance(node, Mapping) or depth == 0:
            return 1
        if id(node) not in self._known:
            self._known[id(node)] = 1
            self._known[id(node)] = min(MAX_GROWTH, self._own(node, depth - 1) + self._beside(node, depth - 1))
        return self._known[id(node)]

    def _own(self, node: Mapping[str, Any], depth: int) -> int:
        literals = [self._count(json.dumps(value)) for value in _literals(node)]
        size = max(literals, default=2) + _count(node.get("minLength"))
        if isinstance(node.get("pattern"), str):
            size += regex_size(node["pattern"])
        size += _FORMAT_GROWTH if "format" in node else 0
        size += _count(node.get("minItems")) * (1 + self.of(node.get("items"), depth))
        properties = node.get("properties")
        for name in node["required"] if isinstance(node.get("required"), list) else ():
            inner = properties.get(name) if isinstance(properties, Mapping) and isinstance(name, str) else None
            size += self._count(json.dumps(name)) + 2 + self.of(inner, depth)
        return size

    def _beside(self, node: Mapping[str, Any], depth: int) -> int:
        lists = (node.get(keyword) for keyword in ("anyOf", "oneOf", "allOf"))
        options = [option for found in lists if isinstance(found, list) for option in found]
        return max((self.of(option, depth) for option in (*options, self._target(node.get("$ref")))), default=0)

    def _target(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        node = self._root
        for key in reference[2:].split("/") if len(reference) > 1 else ():
            node = node.get(key) if isinstance(node, Mapping) else None
        return node

    def _count(self, text: str) -> int:
        return len(self._bridge.tokenize(text.encode()))


def _count(value: Any) -> int:
    return min(value, MAX_GROWTH) if isinstance(value, int) and value > 0 else 0


def _literals(node: Mapping[str, Any]) -> list[Any]:
    values = node["enum"][:MAX_TEXTS] if isinstance(node.get("enum"), list) else []
    return [*values, node["const"]] if "const" in node else values


def _required_names(part: Json) -> Iterator[str]:
    separator = ": " if part.whitespace is None else ":"
    for node in _mappings(part.schema):
        if isinstance(node.get("required"), list):
            yield from (json.dumps(name, ensure_ascii=False) + separator for name in node["required"])


def _pattern_ends(schema: Any) -> Iterator[str]:
    """Yields texts that match the schema's patterns, with the quote behind them."""
    for node in _mappings(schema):
        match = shortest_match(node["pattern"]) if isinstance(node.get("pattern"), str) else None
        if match:
            yield json.dumps(match, ensure_ascii=False)[1:]


def _constants(schema: Any) -> Iterator[Any]:
    for node in _mappings(schema):
        yield from _literals(node)


def _mappings(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yields the objects inside a schema, outer ones first."""
    pending = [schema]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            yield value
        if isinstance(value, (Mapping, list)):
            pending.extend(reversed(list(value.values()) if isinstance(value, Mapping) else value))
