"""The patterns of JSON schemas, which are ECMAScript's, in the syntax of Rust's regex crate, as llguidance reads it."""

from __future__ import annotations

_NOT_WORD = r"[^\p{L}\p{M}\p{N}_]"
_NOT_DIGIT = r"[^\p{Nd}]"
_NARROWER = {r"\W": _NOT_WORD, r"\D": _NOT_DIGIT}
"""What is no letter or digit to anybody: llguidance counts ASCII ones alone, Python and Rust those of any script."""


def as_rust(pattern: str) -> str:
    r"""Returns a pattern that matches the same texts, or fewer, in Rust's syntax.

    In ECMAScript's (and Python's) classes `[`, `&&`, `--` and `~~` are plain characters; in Rust's they nest and
    combine classes. What Rust does not know at all, such as look-around, is left as it is, for the compiler to refuse.

    Args:
        pattern: As it stands in a schema.

    Example:
        >>> as_rust("[[a&&b]+")
        '[\\[a\\&\\&b]+'
    """
    written: list[str] = []
    position = 0
    while position < len(pattern):
        if pattern[position] == "[":
            position = _write_class(pattern, position, written)
            continue
        piece = pattern[position : position + (2 if pattern[position] == "\\" else 1)]
        written.append(_NARROWER.get(piece, piece))
        position += len(piece)
    return "".join(written)


def _write_class(pattern: str, position: int, written: list[str]) -> int:
    """Writes a class; returns the position behind it."""
    is_negated = pattern.startswith("[^", position)
    opening = "[^" if is_negated else "["
    written.append(opening)
    first = position = position + len(opening)
    previous = ""
    while position < len(pattern):
        piece = pattern[position : position + (2 if pattern[position] == "\\" else 1)]
        position += len(piece)
        if piece == "]" and position - 1 > first:
            written.append(piece)
            break
        is_plain = piece in {"[", "]", "&", "~"} or (piece == "-" and previous in {"", "-"})
        piece = f"\\{piece}" if is_plain else piece
        written.append(piece if is_negated else _NARROWER.get(piece, piece))
        previous = piece
    return position
