"""Text that arrives in pieces, read from front to back by generators that wait for more.

A reader is written as if the whole text were there. Where it needs a character that has not come, it yields None and
goes on when there is more, so what it makes of a text does not depend on how the text was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias, TypeVar

from vllm_local.chat.deltas import Delta

Result = TypeVar("Result")
Waiting: TypeAlias = Generator[None, None, Result]
"""Yields None for each wait, and returns a result."""
Reading: TypeAlias = Generator[Delta | None, None, Result]
"""Yields deltas, and None for each wait."""

WHITESPACE = " \t\r\n"


class TextSource:
    """Unread text and its end, if that has come."""

    def __init__(self) -> None:
        """Starts empty."""
        self._text = ""
        self._position = 0
        self._mark: int | None = None
        self.ended = False

    def push(self, piece: str) -> None:
        """Appends a piece; what has been read and is not marked is forgotten."""
        keep = self._position if self._mark is None else self._mark
        self._text = self._text[keep:] + piece
        self._position -= keep
        self._mark = None if self._mark is None else 0

    def end(self) -> None:
        """Says that nothing more comes."""
        self.ended = True

    @property
    def unread(self) -> str:
        """What has come and has not been read."""
        return self._text[self._position :]

    def take(self, count: int) -> str:
        """Reads that many characters, which must have come."""
        text = self._text[self._position : self._position + count]
        self._position += count
        return text

    def mark(self) -> None:
        """Remembers this place for `take_back`; there is one mark at a time."""
        self._mark = self._position

    def unmark(self) -> None:
        """Forgets the mark."""
        self._mark = None

    def take_back(self) -> None:
        """Returns to the mark."""
        assert self._mark is not None, "nothing is marked"
        self._position = self._mark
        self._mark = None

    def drop_cut_off(self) -> None:
        """Forgets what is left where the text has ended: half a key or half a tag of the call before."""
        if self.ended:
            self.take(len(self.unread))

    def wait(self) -> Waiting[bool]:
        """Waits for one more character than there is; False if none will come."""
        # Reading moves the position and never the text, so its unread length says whether any came.
        length = len(self._text) - self._position
        while len(self._text) - self._position == length:
            if self.ended:
                return False
            yield None
        return True

    def peek(self) -> Waiting[str]:
        """Returns the next character without reading it; "" at the end."""
        while self._position == len(self._text):
            if not (yield from self.wait()):
                return ""
        return self._text[self._position]

    def follows(self, literal: str) -> Waiting[bool]:
        """Whether the text goes on with a literal; waits only while it may."""
        while True:
            unread = self._text[self._position : self._position + len(literal)]
            if len(unread) == len(literal) or not literal.startswith(unread):
                return unread == literal
            if not (yield from self.wait()):
                return False

    def accept(self, *literals: str) -> Waiting[str]:
        """Reads the first literal that the text goes on with, and returns it; "" if it is none."""
        for literal in literals:
            if (yield from self.follows(literal)):
                return self.take(len(literal))
        return ""

    def skip_whitespace(self) -> Waiting[str]:
        """Reads and returns blanks and line breaks."""
        skipped: list[str] = []
        while True:
            unread = self.unread
            count = len(unread) - len(unread.lstrip(WHITESPACE))
            skipped.append(self.take(count))
            if count < len(unread) or not (yield from self.wait()):
                return "".join(skipped)

    def read_until(self, *stops: str, limit: int = 256) -> Waiting[str | None]:
        """Reads up to a stop, which stays unread; None, with nothing read, if there is none within the limit."""
        while True:
            unread = self.unread
            place, _ = first_of(unread, stops)
            if place >= 0:
                return self.take(place)
            if len(unread) > limit or not (yield from self.wait()):
                return None

    def stream_until(self, stops: Sequence[str], make: Callable[[str], Delta]) -> Reading[str]:
        """Yields deltas of the text up to a stop, and returns the stop, which stays unread; "" at the end.

        No more is held back than what may be the beginning of a stop.
        """
        while True:
            unread = self.unread
            place, stop = first_of(unread, stops)
            safe = place if stop else len(unread) - held_back(unread, stops)
            if safe > 0:
                yield make(self.take(safe))
            if stop:
                return stop
            if not (yield from self.wait()):
                if rest := self.unread:
                    yield make(self.take(len(rest)))
                return ""


def first_of(text: str, stops: Sequence[str]) -> tuple[int, str]:
    """Returns the place of the first stop in a text, and the stop; (-1, "") if there is none."""
    found = [(place, stop) for stop in stops if (place := text.find(stop)) >= 0]
    return min(found, key=lambda item: item[0], default=(-1, ""))


def held_back(text: str, stops: Sequence[str]) -> int:
    """Returns the length of the longest end of a text that is the beginning of a stop."""
    longest = max(map(len, stops), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        end = text[-length:]
        if any(stop.startswith(end) for stop in stops):
            return length
    return 0
