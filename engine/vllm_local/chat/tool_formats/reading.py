"""What the readers of most formats share: content up to a call, and calls as JSON objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from vllm_local.chat.deltas import ContentDelta
from vllm_local.chat.json_reader import read_json_string, read_json_value, stream_json_value
from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter
from vllm_local.chat.tools import Tool
from vllm_local.grammar_spec import Chain, Constraint, Json, Text

ARGUMENT_KEYS = ("arguments", "parameters")


def read_answer(
    source: TextSource,
    calls: CallWriter,
    readers: Mapping[str, Callable[[], Reading[bool]]],
    closers: Sequence[str] = (),
) -> Reading[None]:
    """Yields content, and the calls that openers begin.

    Blanks around calls are nobody's and are dropped, as are closers that are left over.

    Args:
        source: The answer.
        calls: Knows how many there have been.
        readers: By what a call begins with, what reads it from there on; False, before it has yielded anything, if it
            is no call.
        closers: What may be left behind calls.
    """
    stops = (*readers, *closers)
    behind_call = calls.count > 0
    while True:
        blank = yield from source.skip_whitespace()
        stop = yield from _next_stop(source, stops)
        if not stop:
            if behind_call and any(text.startswith(source.unread) for text in stops):
                # Nothing is left, or the beginning of a tag.
                source.drop_cut_off()
                return
            if blank:
                yield ContentDelta(blank)
            blank = ""
            stop = yield from source.stream_until(stops, ContentDelta)
            if not stop:
                return
        if stop in readers:
            behind_call = yield from _try_call(source, stop, readers[stop], blank)
        elif behind_call:
            source.take(len(stop))
        else:
            yield ContentDelta(blank + source.take(len(stop)))


def _next_stop(source: TextSource, stops: Sequence[str]) -> Reading[str]:
    for stop in stops:
        if (yield from source.follows(stop)):
            return stop
    return ""


def _try_call(source: TextSource, opener: str, read_call: Callable[[], Reading[bool]], blank: str) -> Reading[bool]:
    source.mark()
    source.take(len(opener))
    is_call = yield from read_call()
    if not is_call:
        source.take_back()
        yield ContentDelta(blank + source.take(len(opener)))
    else:
        source.drop_cut_off()
    return is_call


def read_json_call(
    source: TextSource, calls: CallWriter, closers: Sequence[str] = (), *, known_only: bool = False
) -> Reading[bool]:
    """Yields a call that is an object with a name and arguments, in any order and among other keys.

    Args:
        source: Stands at the object.
        calls: Numbers it.
        closers: Where a call ends whose arguments are no JSON.
        known_only: Without a tool of the name it is no call.

    Returns:
        Whether there is one; nothing has been yielded if not.
    """
    if not (yield from source.accept("{")):
        return False
    return (yield from _read_members(source, calls, closers, known_only))


def _read_members(source: TextSource, calls: CallWriter, closers: Sequence[str], known_only: bool) -> Reading[bool]:
    begun, written = False, False
    early: str | None = None
    while not (yield from source.accept("}")):
        key = yield from _read_key(source)
        if key is None:
            return begun
        if key in {"name", "function"} and not begun and (yield from source.peek()) == '"':
            if not (yield from _begin_call(source, calls, known_only)):
                return False
            begun, written = True, early is not None
            if early is not None:
                yield calls.arguments(early)
        elif key in ARGUMENT_KEYS and begun and not written:
            written = True
            if not (yield from stream_arguments(source, calls, closers)):
                return True
        else:
            value = yield from read_json_value(source)
            if value is None:
                return begun
            early = unquoted(value) if key in ARGUMENT_KEYS else early
        yield from _skip_comma(source)
    if begun and not written:
        yield calls.arguments("{}")
    return begun


def _begin_call(source: TextSource, calls: CallWriter, known_only: bool) -> Reading[bool]:
    name = yield from read_json_string(source)
    if not name or (known_only and not calls.knows(name)):
        return False
    yield calls.begin(name)
    return True


def _skip_comma(source: TextSource) -> Reading[None]:
    yield from source.skip_whitespace()
    yield from source.accept(",")
    yield from source.skip_whitespace()


def _read_key(source: TextSource) -> Reading[str | None]:
    """Reads a key and its colon."""
    yield from source.skip_whitespace()
    key = yield from read_json_string(source)
    if key is None:
        return None
    yield from source.skip_whitespace()
    if not (yield from source.accept(":")):
        return None
    yield from source.skip_whitespace()
    return key


def stream_arguments(source: TextSource, calls: CallWriter, closers: Sequence[str] = ()) -> Reading[bool]:
    """Yields a call's arguments as they are written, be they JSON or, up to a closer, not.

    Returns:
        Whether they are a JSON value.
    """
    first = yield from source.peek()
    if (yield from source.accept("null")):
        yield calls.arguments("{}")
        return True
    if first == '"':
        # Some models write the object's text as a string.
        value = yield from read_json_value(source)
        if value is not None:
            yield calls.arguments(unquoted(value))
            return True
    elif first in {"{", "["} and (yield from stream_json_value(source, calls.arguments)):
        return True
    yield from source.stream_until(closers, calls.arguments)
    return False


def unquoted(value: str) -> str:
    """Returns the JSON text of arguments that may be written as a string of it, or as null."""
    try:
        decoded = json.loads(value, strict=False)
    except ValueError:
        return value
    if decoded is None or decoded == "":
        return "{}"
    return decoded if isinstance(decoded, str) and decoded.lstrip().startswith("{") else value


def read_json_calls(source: TextSource, calls: CallWriter, closers: Sequence[str] = ()) -> Reading[bool]:
    """Yields the calls of an array of objects; False if there is none, before anything is yielded."""
    if not (yield from source.accept("[")):
        return False
    return (yield from read_json_items(source, calls, closers))


def read_json_items(source: TextSource, calls: CallWriter, closers: Sequence[str] = ()) -> Reading[bool]:
    """Yields the calls of an array whose bracket has been read; the rest is as for `read_json_calls`."""
    count = calls.count
    yield from source.skip_whitespace()
    while (yield from source.peek()) == "{":
        if calls.count > count:
            source.mark()
        if not (yield from read_json_call(source, calls, closers)):
            if calls.count > count:
                source.take_back()
            break
        yield from _skip_comma(source)
    if calls.count == count:
        return False
    yield from source.accept("]")
    return True


def json_call(tool: Tool, arguments_key: str = "arguments") -> Constraint:
    """Returns the constraint of a call that is an object with a name and arguments."""
    name = json.dumps(tool.name, ensure_ascii=False)
    return Chain((Text(f'{{"name": {name}, "{arguments_key}": '), Json(tool.parameters), Text("}")))


def read_named_call(
    source: TextSource, calls: CallWriter, name: str | None, closers: Sequence[str] = ()
) -> Reading[bool]:
    """Yields a call whose arguments come next.

    Args:
        source: Stands behind the name and what separates it.
        calls: Numbers the call.
        name: What has been read as its name; None or several words make it no call.
        closers: Where a call ends whose arguments are no JSON.
    """
    if name is None or len(name.split()) != 1:
        return False
    yield calls.begin(name.strip())
    yield from source.skip_whitespace()
    if (yield from source.peek()):
        yield from stream_arguments(source, calls, closers)
    return True
