"""How much a regular expression spells out: repetitions multiply, and llguidance's fuel does not see it."""

from __future__ import annotations

import re

from vllm_local.errors import InvalidRequestError

MAX_REGEX_SIZE = 50_000
"""Takes a fraction of a second to compile."""
COUNT = re.compile(r"\{\s*(\d+)\s*(?:,\s*(\d*)\s*)?\}")
"""A counted repetition: its least number, and its most if it has both."""
_ESCAPE = re.compile(r"\\(?:[pPxuU]\{[^}]*\}|.)", re.DOTALL)
GROUP_START = re.compile(r"\((?:\?(?:P?<\w+>|[a-zA-Z-]*:|[a-zA-Z-]+(?=\))))?")
"""What opens a group, with its name or flags."""


def check_regex_size(pattern: str, where: str, parameter: str) -> None:
    """Makes sure that a pattern is compiled in a fraction of a second.

    Args:
        pattern: A regular expression.
        where: What the message calls it.
        parameter: Whose fault an error is.

    Raises:
        InvalidRequestError: It spells out more than MAX_REGEX_SIZE characters.
    """
    size = regex_size(pattern)
    if size > MAX_REGEX_SIZE:
        message = (
            f"{where} is a pattern of {size} characters once its repetitions are written out; at most "
            f"{MAX_REGEX_SIZE} are compiled."
        )
        raise InvalidRequestError(message, parameter=parameter)


def regex_size(pattern: str) -> int:
    r"""Returns how many characters, classes and the like a pattern has when its counted repetitions are written out.

    Args:
        pattern: In the syntax of Rust's regex crate; where it is malformed the number means little.

    Example:
        >>> regex_size(r"\d{4}-(ab){1,3}")
        11
    """
    sizes = [0]  # of the groups that are open
    last = 0  # of what a repetition would repeat
    position = 0
    while position < len(pattern):
        character = pattern[position]
        count = COUNT.match(pattern, position)
        if count is not None:
            most = int(count[2] or count[1])
            sizes[-1] += last * (max(most, 1) - 1)
            last *= max(most, 1)
            position = count.end()
        elif character == "(":
            sizes.append(0)
            last = 0
            start = GROUP_START.match(pattern, position)
            assert start is not None, "it begins with a parenthesis"
            position = start.end()
        elif character == ")" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
            position += 1
        elif character in "*+?|":
            position += 1
        else:
            last = 1
            sizes[-1] += 1
            position = _end_of_atom(pattern, position)
    return sum(sizes)


def _end_of_atom(pattern: str, position: int) -> int:
    """Returns where a character, an escape or a class ends."""
    escape = _ESCAPE.match(pattern, position)
    if escape is not None:
        return escape.end()
    return end_of_class(pattern, position) if pattern[position] == "[" else position + 1


def end_of_class(pattern: str, position: int) -> int:
    """Returns where the class at a place ends; classes may hold classes, and "]" first or escaped is a character."""
    depth = 0
    first = -1
    while position < len(pattern):
        character = pattern[position]
        if character == "[":
            depth += 1
            first = position + (2 if pattern.startswith("^", position + 1) else 1)
        elif character == "]" and position != first:
            depth -= 1
            if depth == 0:
                return position + 1
        escape = _ESCAPE.match(pattern, position)
        position = escape.end() if escape is not None else position + 1
    return position
