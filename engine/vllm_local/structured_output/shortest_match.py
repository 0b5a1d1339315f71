"""A short text that a regular expression matches; a guess that others check."""

from __future__ import annotations

from vllm_local.structured_output.regex_size import COUNT, GROUP_START, end_of_class

MAX_MATCH = 20_000
"""Characters; longer texts are not made."""
MAX_DEPTH = 100
_ESCAPES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a", "p": "a", "P": "0"}
_ESCAPES |= {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_PLACES = frozenset("bBAzZ")
_CLASS_RANGES = {"d": "09", "w": "az", "s": " "}
_CANDIDATES = "a0 -_.A!~"
"""What stands for a class that says only what is not in it."""


def shortest_match(pattern: str) -> str | None:
    r"""Returns one of the shortest texts that a pattern matches, or None where none is seen.

    Args:
        pattern: In the syntax of Rust's regex crate. Case, look-around and intersections of classes are not understood.

    Example:
        >>> shortest_match(r"^(foo|x)-[a-f]{3,}\d*$")
        'x-aaa'
    """
    try:
        reader = _Reader(pattern)
        match = reader.alternatives(0)
    except (ValueError, IndexError, OverflowError):
        return None
    return match if reader.position == len(pattern) else None


class _Reader:
    """Reads a pattern once, from the left."""

    def __init__(self, pattern: str) -> None:
        self.position = 0
        self._pattern = pattern

    def alternatives(self, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise ValueError("too many groups inside of each other")
        options = [self._row(depth)]
        while self._pattern.startswith("|", self.position):
            self.position += 1
            options.append(self._row(depth))
        return min(options, key=len)

    def _row(self, depth: int) -> str:
        parts: list[str] = []
        while self.position < len(self._pattern) and self._pattern[self.position] not in "|)":
            part = self._atom(depth)
            parts.append(part * self._least_count(len(part)))
        return "".join(parts)

    def _least_count(self, length: int) -> int:
        """Reads what follows an atom, and returns how often it must stand at least."""
        least = 1
        while self.position < len(self._pattern):
            count = COUNT.match(self._pattern, self.position)
            if count is not None:
                least *= int(count[1])
                self.position = count.end()
            elif self._pattern[self.position] in "*+?":
                # A question mark behind another repetition only says which one to prefer.
                is_lazy = self._pattern[self.position] == "?" and self._pattern[self.position - 1] in "*+?}"
                least = least if is_lazy or self._pattern[self.position] == "+" else 0
                self.position += 1
            else:
                break
        if least * max(length, 1) > MAX_MATCH:
            raise OverflowError
        return least

    def _atom(self, depth: int) -> str:
        character = self._pattern[self.position]
        if character == "(":
            start = GROUP_START.match(self._pattern, self.position)
            assert start is not None, "it begins with a parenthesis"
            self.position = start.end()
            inside = self.alternatives(depth + 1)
            if self._pattern[self.position] != ")":
                raise ValueError("a group is not closed")
            self.position += 1
            return inside
        if character == "[":
            start_of_class, self.position = self.position, end_of_class(self._pattern, self.position)
            return _member(self._pattern[start_of_class + 1 : self.position - 1])
        if character == "\\":
            return self._escape()
        self.position += 1
        return {"^": "", "$": "", ".": "a"}.get(character, character)

    def _escape(self) -> str:
        text, self.position = _read_escape(self._pattern, self.position)
        return text


def _read_escape(pattern: str, position: int) -> tuple[str, int]:
    """Returns a text for the escape at a place, and where it ends."""
    kind = pattern[position + 1]
    end = position + 2
    if kind in "xuU" or (kind in "pP" and pattern.startswith("{", end)):
        digits = {"x": 2, "u": 4, "U": 8}.get(kind, 0)
        closing = pattern.index("}", end) if pattern.startswith("{", end) else end + digits
        code = pattern[end:closing].strip("{")
        after = closing + 1 if pattern.startswith("{", end) else closing
        return (chr(int(code, 16)) if kind in "xuU" else _ESCAPES[kind]), after
    if kind in "pP":
        return _ESCAPES[kind], end + 1
    return ("" if kind in _PLACES else _ESCAPES.get(kind, kind)), end


def _member(inside: str) -> str:
    """Returns a character of a class, given what stands between its brackets."""
    ranges = _ranges(inside.removeprefix("^"))
    if not inside.startswith("^"):
        return ranges[0][0]
    free = (item for item in _CANDIDATES if not any(low <= item <= high for low, high in ranges))
    return next(free, "\u00e9")


def _ranges(inside: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(inside):
        if inside.startswith("[:", position):
            found.append(("0", "9") if inside.startswith("[:digit", position) else ("a", "z"))
            position = inside.index(":]", position) + 2
            continue
        low, after = _class_item(inside, position)
        high = low
        if inside.startswith("-", after) and after + 1 < len(inside):
            high, after = _class_item(inside, after + 1)
        found.append((low[0], high[-1]))
        position = after
    return found


def _class_item(inside: str, position: int) -> tuple[str, int]:
    """Returns the ends of what stands at a place of a class, as one text, and where it ends."""
    if inside[position] != "\\":
        return inside[position], position + 1
    text, end = _read_escape(inside, position)
    return _CLASS_RANGES.get(inside[position + 1], text), end
