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
_MAX_DEPTH = 12


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
            sizes.extend(_size(node, part.schema, bridge, 0) for node in _mappings(part.schema))
    return min(MAX_GROWTH, max(sizes))


def _size(node: Any, root: Any, bridge: TokenizerBridge, depth: int) -> int:
    """Estimates the tokens of the shortest value of a schema, at its longest alternative."""
    if not isinstance(node, Mapping) or depth > _MAX_DEPTH:
        return 1
    literals = [len(bridge.tokenize(json.dumps(value).encode())) for value in _literals(node)]
    own = max(literals, default=2) + (node["minLength"] if isinstance(node.get("minLength"), int) else 0)
    properties = node.get("properties")
    for name in node["required"] if isinstance(node.get("required"), list) else ():
        inner = properties.get(name) if isinstance(properties, Mapping) else None
        own += len(bridge.tokenize(json.dumps(name).encode())) + 2 + _size(inner, root, bridge, depth + 1)
        if own > MAX_GROWTH:
            return MAX_GROWTH
    if isinstance(node.get("minItems"), int):
        own += node["minItems"] * (1 + _size(node.get("items"), root, bridge, depth + 1))
    options = [option for key in ("anyOf", "oneOf", "allOf") if isinstance(node.get(key), list) for option in node[key]]
    target = _target(node.get("$ref"), root)
    beside = [_size(item, root, bridge, depth + 1) for item in (*options[:16], *([target] if target else []))]
    return min(MAX_GROWTH, own + max(beside, default=0))


def _target(reference: Any, root: Any) -> Any:
    node = root if isinstance(reference, str) and reference.startswith("#/") else None
    for key in reference[2:].split("/") if node is not None else ():
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


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
