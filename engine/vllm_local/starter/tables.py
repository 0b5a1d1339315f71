"""Reading the word lists and sentence lists under ``data/``."""

from functools import cache
from importlib.resources import files


@cache
def read_lines(name: str) -> tuple[str, ...]:
    """Return the lines of ``data/<name>`` without comments and blank lines."""
    text = (files(__package__) / "data" / name).read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


@cache
def read_rows(name: str) -> tuple[tuple[str, ...], ...]:
    """Return the ``|``-separated rows of ``data/<name>``."""
    return tuple(tuple(cell.strip() for cell in line.split("|")) for line in read_lines(name))


@cache
def read_blocks(name: str) -> dict[str, tuple[str, ...]]:
    """Return ``heading -> lines`` of ``data/<name>``, where a heading is a line that starts with ``>``."""
    blocks: dict[str, list[str]] = {}
    heading = ""
    for line in read_lines(name):
        if line.startswith(">"):
            heading = line[1:].strip()
            blocks.setdefault(heading, [])
        else:
            blocks[heading].append(line)
    return {key: tuple(lines) for key, lines in blocks.items()}
