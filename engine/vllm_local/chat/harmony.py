"""Messages and channels, as gpt-oss writes them: its thoughts, its calls and its answer are messages of one text."""

from __future__ import annotations

import re
from collections.abc import Callable

from vllm_local.chat.deltas import ContentDelta, Delta, ReasoningDelta
from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter

START, END, CALL, RETURN = "<|start|>", "<|end|>", "<|call|>", "<|return|>"
CHANNEL, MESSAGE, CONSTRAIN = "<|channel|>", "<|message|>", "<|constrain|>"
MARKERS = (START, END, CALL, RETURN, CHANNEL, MESSAGE, CONSTRAIN)
FUNCTIONS = "functions."

_HEADS = (START, CHANNEL, " to=", "to=")
_BODY_STOPS = (END, CALL, RETURN, START, CHANNEL)
_CHANNEL = re.compile(rf"{re.escape(CHANNEL)}\s*(\w+)")
_RECIPIENT = re.compile(r"to=([^\s<]+)")
_LONGEST_HEAD = 1024


def read_harmony(source: TextSource, calls: CallWriter | None) -> Reading[None]:
    """Yields reasoning ("analysis"), calls (messages to a function) and content (the rest).

    Args:
        source: An answer behind `<|start|>assistant`.
        calls: Numbers the calls; None where a request has no tools.
    """
    seen: set[Callable[[str], Delta]] = set()
    while (yield from source.peek()):
        head = yield from _read_head(source)
        if head is None:
            return
        recipient, channel = _RECIPIENT.search(head), _CHANNEL.search(head)
        if recipient is not None and calls is not None:
            yield from _read_call(source, calls, recipient[1].removeprefix(FUNCTIONS))
        else:
            kind: Callable[[str], Delta] = (
                ReasoningDelta if channel is not None and channel[1] == "analysis" else ContentDelta
            )
            yield from _read_body(source, kind, seen)
        yield from source.accept(END, CALL, RETURN)


def _read_head(source: TextSource) -> Reading[str | None]:
    """Reads what stands before a message; "" if nothing does, None if it is cut off."""
    for opener in _HEADS:
        if (yield from source.follows(opener)):
            break
    else:
        return ""
    head = yield from source.read_until(MESSAGE, limit=_LONGEST_HEAD)
    if head is None:
        # It says nothing to anyone.
        source.take(len(source.unread))
        return "" if (yield from source.peek()) else None
    source.take(len(MESSAGE))
    return head


def _read_body(source: TextSource, kind: Callable[[str], Delta], seen: set[Callable[[str], Delta]]) -> Reading[None]:
    if kind in seen and (yield from source.peek()):
        yield kind("\n")
    seen.add(kind)
    yield from source.stream_until(_BODY_STOPS, kind)


def _read_call(source: TextSource, calls: CallWriter, name: str) -> Reading[None]:
    yield calls.begin(name)
    yield from source.skip_whitespace()
    for stop in _BODY_STOPS:
        if (yield from source.follows(stop)):
            yield calls.arguments("{}")
            return
    yield from source.stream_until(_BODY_STOPS, calls.arguments)
