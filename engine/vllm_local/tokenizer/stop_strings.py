"""Stop strings in a text that arrives in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopStringMatcher:
    """Finds the first stop string in a text that arrives in pieces, and lets none of it through.

    Each string is followed by its Knuth–Morris–Pratt automaton (SIAM J. Comput. 6(2), 1977), whose state is how much of
    the string the text ends with: constant work a character, and the longest state is what has to be held back.
    """

    def __init__(self, stop_strings: Sequence[str]) -> None:
        """Prepares the automata; no string may be empty."""
        self._automata = [_StopStringAutomaton(stop_string) for stop_string in stop_strings]
        self._held = ""

    def feed(self, text: str, *, may_stop: bool = True, include_stop: bool = False) -> tuple[str, str | None]:
        """Takes the next piece of the text.

        Args:
            text: The piece.
            may_stop: Whether a stop string that ends in this piece counts.
            include_stop: Let the stop string itself through.

        Returns:
            What may be shown now, and the stop string if one was found: the one that begins first in what is known
            so far, of several the one that ends first. Text after it is dropped.
        """
        buffer = self._held + text
        matches = []
        for automaton in self._automata:
            end = automaton.advance(text, may_stop=may_stop)
            if end is not None:
                end += len(self._held)
                matches.append((end - len(automaton.pattern), end, automaton.pattern))
        if matches:
            start, end, stop_string = min(matches)
            self._held = ""
            return buffer[: end if include_stop else start], stop_string
        shown = len(buffer) - max((automaton.state for automaton in self._automata), default=0)
        self._held = buffer[shown:]
        return buffer[:shown], None

    def release(self) -> str:
        """Returns what is held back; the text has ended otherwise."""
        held, self._held = self._held, ""
        return held


class _StopStringAutomaton:
    """How much of one stop string a text ends with."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.state = 0
        self._fallback = _fallbacks(pattern)

    def advance(self, text: str, *, may_stop: bool) -> int | None:
        """Reads text; returns the index in it just behind the first match, or None."""
        pattern, fallback, state = self.pattern, self._fallback, self.state
        for index, character in enumerate(text):
            while state and (state == len(pattern) or pattern[state] != character):
                state = fallback[state - 1]
            state += pattern[state] == character
            if state == len(pattern) and may_stop:
                self.state = 0
                return index + 1
        # A match that did not count is shown, but for what may begin the next one.
        self.state = fallback[state - 1] if state == len(pattern) else state
        return None


def _fallbacks(pattern: str) -> list[int]:
    """Returns for each prefix the length of its longest proper suffix that is a prefix too."""
    fallbacks = [0] * len(pattern)
    length = 0
    for index in range(1, len(pattern)):
        while length and pattern[index] != pattern[length]:
            length = fallbacks[length - 1]
        length += pattern[index] == pattern[length]
        fallbacks[index] = length
    return fallbacks
