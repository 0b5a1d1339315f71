"""What an answer's text turns into: content, reasoning and tool calls, piece by piece or as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class ContentDelta:
    """A piece of what is said to the user."""

    text: str


@dataclass(frozen=True)
class ReasoningDelta:
    """A piece of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True)
class ToolCallStart:
    """A tool call begins; its arguments follow in pieces.

    Attributes:
        index: Number of the call within the answer, from 0.
        id: By which the tool's result will name the call.
        name: The tool's, as the model wrote it.
    """

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class ToolCallArguments:
    """A piece of the JSON text of a call's arguments.

    Attributes:
        index: The call's.
        text: All pieces of a call that was not cut off are one JSON object, unless the model wrote no JSON.
    """

    index: int
    text: str


Delta: TypeAlias = ContentDelta | ReasoningDelta | ToolCallStart | ToolCallArguments


@dataclass(frozen=True)
class ToolCall:
    """A whole call.

    Attributes:
        id: By which the tool's result will name it.
        name: The tool's.
        arguments: JSON text; not the whole of it if the answer was cut off within.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ParsedAnswer:
    """A whole answer.

    Attributes:
        content: What is said to the user.
        reasoning: What the model thought before.
        tool_calls: In their order.
    """

    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


def collect_deltas(deltas: Iterable[Delta]) -> ParsedAnswer:
    """Returns the answer that deltas add up to."""
    content: list[str] = []
    reasoning: list[str] = []
    starts: list[ToolCallStart] = []
    arguments: dict[int, list[str]] = {}
    for delta in deltas:
        if isinstance(delta, ContentDelta):
            content.append(delta.text)
        elif isinstance(delta, ReasoningDelta):
            reasoning.append(delta.text)
        elif isinstance(delta, ToolCallStart):
            starts.append(delta)
        else:
            arguments.setdefault(delta.index, []).append(delta.text)
    calls = tuple(ToolCall(start.id, start.name, "".join(arguments.get(start.index, ()))) for start in starts)
    return ParsedAnswer("".join(content), "".join(reasoning), calls)


def join_deltas(deltas: Iterable[Delta]) -> Iterator[Delta]:
    """Yields the same deltas, neighbours of one kind joined."""
    pending: Delta | None = None
    for delta in deltas:
        joined = None if pending is None else _join(pending, delta)
        if joined is None and pending is not None:
            yield pending
        pending = joined or delta
    if pending is not None:
        yield pending


def _join(first: Delta, second: Delta) -> Delta | None:
    if isinstance(first, ContentDelta) and isinstance(second, ContentDelta):
        return ContentDelta(first.text + second.text)
    if isinstance(first, ReasoningDelta) and isinstance(second, ReasoningDelta):
        return ReasoningDelta(first.text + second.text)
    if isinstance(first, ToolCallArguments) and isinstance(second, ToolCallArguments) and first.index == second.index:
        return ToolCallArguments(first.index, first.text + second.text)
    return None
