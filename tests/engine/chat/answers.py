"""Answers read in pieces of every size, and constraints as regular expressions: two looks at one wire text."""

import json
import re
from itertools import count

from jsonschema import Draft202012Validator

from vllm_local.chat.deltas import collect_deltas
from vllm_local.chat.stream_router import StreamRouter
from vllm_local.chat.tools import read_tool_request
from vllm_local.grammar_spec import Chain, FreeText, Json, OneOf, Pattern, Repeated, Text

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "unit": {"enum": ["C", "F", None]},
        "where": {"type": "object", "properties": {"lat": {"type": "number"}}},
        "exact": {"type": "boolean"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "code": {"type": "string", "pattern": "^[a-z]+$"},
    },
    "required": ["city"],
}


def tool(name, parameters=None):
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": parameters}}


TOOLS = [tool("get_weather", WEATHER), tool("now")]


def ask(tool_choice="auto", tools=TOOLS, **kwargs):
    return read_tool_request(tools, tool_choice, **kwargs)


def read_pieces(pieces, tool_format=None, reasoning_format=None, request=None, state="free"):
    """The deltas of an answer; the calls' ids are numbers."""
    numbers = count()
    router = StreamRouter(
        reasoning_format,
        tool_format,
        request or (ask() if tool_format else None),
        reasoning_state=state,
        make_id=lambda: f"id{next(numbers)}",
    )
    deltas = [delta for piece in pieces for delta in router.feed(piece)]
    return [*deltas, *router.finish()]


def read(text, tool_format=None, reasoning_format=None, **kwargs):
    """An answer, which must be one and the same in pieces of every size."""
    formats = (tool_format, reasoning_format)
    whole = collect_deltas(read_pieces([text], *formats, **kwargs))
    for size in range(1, len(text)):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert collect_deltas(read_pieces(pieces, *formats, **kwargs)) == whole, f"pieces of {size}"
    assert [call.id for call in whole.tool_calls] == [f"id{index}" for index in range(len(whole.tool_calls))]
    return whole


def said(text, tool_format, **kwargs):
    """An answer's content, and its calls as (name, arguments)."""
    answer = read(text, tool_format, **kwargs)
    return answer.content, [(call.name, _value(call.arguments)) for call in answer.tool_calls]


def _value(arguments):
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def allows(constraint, text):
    """Whether a text is what a constraint asks for."""
    return len(text) in _ends(constraint, text, 0)


def _ends(constraint, text, start):
    """Where a part may end that begins at a place."""
    match constraint:
        case Text(literal):
            ends = {start + len(literal)} if text.startswith(literal, start) else set()
        case Json(schema):
            ends = _json_ends(schema, text, start)
        case Pattern(regex):
            ends = {end for end in range(start, len(text) + 1) if re.fullmatch(regex, text[start:end])}
        case FreeText(without):
            ends = {min((place for part in without if (place := text.find(part, start)) >= 0), default=len(text))}
        case Chain(parts):
            ends = {start}
            for part in parts:
                ends = {end for place in ends for end in _ends(part, text, place)}
        case OneOf(options):
            ends = {end for option in options for end in _ends(option, text, start)}
        case Repeated():
            ends = _repeated_ends(constraint, text, start)
    return ends


def _json_ends(schema, text, start):
    try:
        value, end = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return set()
    return {end} if Draft202012Validator(schema).is_valid(value) else set()


def _repeated_ends(repeated, text, start):
    separator = repeated.separator or Text("")
    found, places, times = set(), {start}, 0
    while places and (repeated.maximum is None or times <= repeated.maximum):
        if times >= repeated.minimum:
            found |= places
        starts = places if times == 0 else {end for place in places for end in _ends(separator, text, place)}
        places = {end for place in starts for end in _ends(repeated.part, text, place)} - found
        times += 1
    return found
