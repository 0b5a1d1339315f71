"""What a constraint says, before it is compiled, about how its answers end: texts to try, and how far an end may be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from vllm_local.grammar_spec import Constraint, Json, Pattern, Text, sub_constraints
from vllm_local.structured_output.tokenizer_bridge import TokenizerBridge

MAX_TEXTS = 24
"""Of each kind."""
MAX_GROWTH = 1024
_BASE_GROWTH = 8
_PATTERN_GROWTH = 16


def fixed_texts(constraint: Constraint, bridge: TokenizerBridge) -> list[list[int]]:
    """Returns the tokens of the texts that a constraint is made of, such as tags."""
    texts = [part.text for part in sub_constraints(constraint) if isinstance(part, Text)][:MAX_TEXTS]
    return [bridge.tokenize(text.encode(), parse_special=True) for text in texts]


def json_pieces(constraint: Constraint, bridge: TokenizerBridge) -> list[list[int]]:
    """Returns the tokens of what its JSON is likely to need as a whole: required names, and the shortest constants."""
    schemas = [part for part in sub_constraints(constraint) if isinstance(part, Json)]
    names = [name for part in schemas for name in _required_names(part)][:MAX_TEXTS]
    constants = sorted((json.dumps(value) for part in schemas for value in _constants(part.schema)), key=len)
    return [bridge.tokenize(text.encode()) for text in (*names, *constants[:MAX_TEXTS])]


def growth(constraint: Constraint, bridge: TokenizerBridge) -> int:
    """Estimates by how many tokens one token may move the end away: by the longest thing that, once begun, must end."""
    sizes = [_BASE_GROWTH]
    for part in sub_constraints(constraint):
        if isinstance(part, Text):
            sizes.append(len(bridge.tokenize(part.text.encode(), parse_special=True)))
        elif isinstance(part, Pattern):
            sizes.append(_PATTERN_GROWTH)
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

    def of(self, node: Any) -> int:
        """Returns a part's tokens, at most `MAX_GROWTH`."""
        if not isinstance(node, Mapping):
            return 1
        if id(node) not in self._known:
            self._known[id(node)] = 1
            self._known[id(node)] = min(MAX_GROWTH, self._own(node) + self._beside(node))
        return self._known[id(node)]

    def _own(self, node: Mapping[str, Any]) -> int:
        literals = [self._count(json.dumps(value)) for value in _literals(node)]
        size = max(literals, default=2) + _count(node.get("minLength"))
        size += _count(node.get("minItems")) * (1 + self.of(node.get("items")))
        properties = node.get("properties")
        for name in node["required"] if isinstance(node.get("required"), list) else ():
            inner = properties.get(name) if isinstance(properties, Mapping) and isinstance(name, str) else None
            size += self._count(json.dumps(name)) + 2 + self.of(inner)
        return size

    def _beside(self, node: Mapping[str, Any]) -> int:
        lists = (node.get(keyword) for keyword in ("anyOf", "oneOf", "allOf"))
        options = [option for found in lists if isinstance(found, list) for option in found]
        return max((self.of(option) for option in (*options, self._target(node.get("$ref")))), default=0)

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
