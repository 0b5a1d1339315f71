"""Searching conversations for what they must not say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.engine.starter.standard_tests import Pairs, StandardTests
from vllm_local.starter.skills.conversation import Conversation

_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
_EXAMPLE_FIELD = re.compile(r'"(\w+)": ?"?(string|integer|number|boolean|array|object|str|int|float|bool|list)\b')
_SHORT_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array"}


def squeezed(text: str) -> str:
    """Return the text without case and spaces."""
    return "".join(text.lower().split())


def calls(conversation: Conversation) -> list[Mapping[str, Any]]:
    """Return the functions of all tool calls."""
    return [call["function"] for message in conversation.messages for call in message.get("tool_calls") or ()]


def texts(conversation: Conversation) -> Iterator[str]:
    """Yield everything that is said: contents, thoughts, arguments, and the descriptions in the tools."""
    for message in conversation.messages:
        yield from (str(message[key]) for key in ("content", "reasoning_content", "name") if message.get(key))
    for call in calls(conversation):
        yield from strings(call["arguments"])
    yield from descriptions(conversation.tools)


def strings(value: Any) -> Iterator[str]:
    """Yield the strings among a JSON value's values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for part in value.values() for text in strings(part))
    elif isinstance(value, (list, tuple)):
        yield from (text for part in value for text in strings(part))


def descriptions(value: Any) -> Iterator[str]:
    """Yield the descriptions and titles in tools or in a JSON schema."""
    if isinstance(value, Mapping):
        yield from (value[key] for key in ("description", "title") if isinstance(value.get(key), str))
        yield from (text for part in value.values() for text in descriptions(part))
    elif isinstance(value, (list, tuple)):
        yield from (text for part in value for text in descriptions(part))


def tool_names(conversation: Conversation) -> Iterator[str]:
    """Yield the names of tools offered and called, and the titles of the schemas in texts."""
    yield from (tool["function"]["name"] for tool in conversation.tools)
    yield from (call["name"] for call in calls(conversation))
    for schema in schemas(conversation):
        yield from (schema[key] for key in ("title", "name") if isinstance(schema.get(key), str))


def schemas(conversation: Conversation) -> Iterator[Mapping[str, Any]]:
    """Yield the parameters of tools and the JSON schemas that stand in texts."""
    yield from (tool["function"].get("parameters") or {} for tool in conversation.tools)
    for message in conversation.messages:
        content = message.get("content") or ""
        if '"properties"' in content:
            yield from (found for found in json_objects(content) if "properties" in found)


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a text, inner ones too."""
    decoder = json.JSONDecoder()
    for match in re.finditer("{", text):
        try:
            found, _ = decoder.raw_decode(text, match.start())
        except ValueError:
            continue
        yield found


def pairs_of(conversation: Conversation) -> Iterator[Pairs]:
    """Yield the (property, type) pairs of each schema, of each call, and of example formats in texts."""
    for schema in schemas(conversation):
        properties = schema.get("properties") or {}
        yield frozenset((key, str(definition.get("type"))) for key, definition in properties.items())
    for message in conversation.messages:
        found = _EXAMPLE_FIELD.findall(message.get("content") or "")
        yield frozenset((key, _SHORT_TYPES.get(kind, kind)) for key, kind in found)
    if not conversation.tools:
        for call in calls(conversation):
            yield frozenset((key, _TYPES[type(value)]) for key, value in call["arguments"].items())


def keys(conversation: Conversation) -> Iterator[str]:
    """Yield the names of arguments and of the fields of JSON objects in texts."""
    for schema in schemas(conversation):
        yield from schema.get("properties") or {}
    for call in calls(conversation):
        yield from call["arguments"]
    for message in conversation.messages:
        yield from re.findall(r'"(\w+)":', message.get("content") or "")


def standard_test_leaks(conversations: Iterable[Conversation], forbidden: StandardTests) -> set[str]:
    """Return the prompts, the tool names and the schemas of the standard tests that occur."""
    drawn = list(conversations)
    text = "\n".join(squeezed(one) for conversation in drawn for one in texts(conversation))
    names = {squeezed(name) for conversation in drawn for name in tool_names(conversation)}
    pairs = {found for conversation in drawn for found in pairs_of(conversation)}
    leaks = {prompt for prompt in forbidden.prompts if squeezed(prompt) in text}
    # A name of one plain word, such as "Joke", is a leak as a tool's name only.
    leaks |= {name for name in forbidden.names if squeezed(name) in names or ("_" in name and squeezed(name) in text)}
    return leaks | {str(sorted(schema)) for schema in forbidden.schemas if schema in pairs}
