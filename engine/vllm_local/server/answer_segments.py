"""An answer as a row of thoughts, texts and calls, which Anthropic's API and the Responses API show one by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from vllm_local.chat.deltas import ContentDelta, Delta, ReasoningDelta, ToolCallStart

SegmentKind: TypeAlias = Literal["reasoning", "content", "call"]


@dataclass
class Segment:
    """A stretch of one kind.

    Attributes:
        index: Its number, from 0.
        kind: What it is.
        call_id: Of a call.
        name: The called tool's.
        texts: What is thought or said, or a call's arguments, in pieces.
    """

    index: int
    kind: SegmentKind
    call_id: str = ""
    name: str = ""
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.texts)


class Segments:
    """The row, as far as it goes.

    Attributes:
        items: Its segments.
    """

    def __init__(self, deltas: Iterable[Delta] = ()) -> None:
        """Begins with what is known of the answer."""
        self.items: list[Segment] = []
        for delta in deltas:
            self.add(delta)

    @property
    def last(self) -> Segment | None:
        """The one that goes on."""
        return self.items[-1] if self.items else None

    def add(self, delta: Delta) -> bool:
        """Takes in a delta; says whether it begins a new segment."""
        begins = self._begins(delta)
        if begins:
            self.items.append(_segment(len(self.items), delta))
        if not isinstance(delta, ToolCallStart):
            self.items[-1].texts.append(delta.text)
        return begins

    def begin_empty(self) -> bool:
        """Makes sure that there is a segment, since every answer has one; says whether there was none."""
        return not self.items and self.add(ContentDelta(""))

    def _begins(self, delta: Delta) -> bool:
        last = self.last
        return last is None or isinstance(delta, ToolCallStart) or last.kind != _kind(delta)


def _segment(index: int, delta: Delta) -> Segment:
    if isinstance(delta, ToolCallStart):
        return Segment(index, "call", delta.id, delta.name)
    return Segment(index, _kind(delta))


def _kind(delta: Delta) -> SegmentKind:
    if isinstance(delta, ContentDelta):
        return "content"
    return "reasoning" if isinstance(delta, ReasoningDelta) else "call"
