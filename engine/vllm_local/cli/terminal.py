"""How answers look in a terminal, and as plain text where there is none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from vllm_local.cli.answer_markdown import AnswerMarkdown
from vllm_local.cli.answers import Piece

_FENCES = ("```", "~~~")


@dataclass
class Answer:
    """An answer as it was shown.

    Attributes:
        text: All of it.
        num_tokens: How many tokens it has, if somebody said.
        seconds_to_first: Until its first text came; None if none did.
        seconds: Until its end.
        is_interrupted: Whether Ctrl-C ended it.
    """

    text: str = ""
    num_tokens: int | None = None
    seconds_to_first: float | None = None
    seconds: float = 0.0
    is_interrupted: bool = False

    def statistics(self) -> str:
        """Returns vLLM's two lines: time to first token, and tokens a second."""
        if self.seconds_to_first is None:
            return "TTFT: no text"
        lines = [f"{'TTFT:':<5} {self.seconds_to_first * 1000:.2f} ms"]
        if self.num_tokens is not None:
            speed = self.num_tokens / max(self.seconds, 1e-9)
            lines.append(f"{'TPS:':<5} {speed:.2f} tokens/s ({self.num_tokens} tokens in {self.seconds:.2f}s)")
        return "\n".join(lines)


def show_answer(console: Console, pieces: Generator[Piece, None, None], *, as_markdown: bool) -> Answer:
    """Shows an answer while it comes; Ctrl-C ends the answer, not the program.

    Args:
        console: Where to.
        pieces: The answer; closed in the end.
        as_markdown: Render it, if this is a terminal.
    """
    answer = Answer()
    started = time.perf_counter()
    writer = MarkdownWriter(console) if as_markdown and console.is_terminal else PlainWriter(console)
    try:
        with contextlib.closing(pieces):
            for piece in pieces:
                if piece.text and answer.seconds_to_first is None:
                    answer.seconds_to_first = time.perf_counter() - started
                answer.text += piece.text
                answer.num_tokens = answer.num_tokens if piece.num_tokens is None else piece.num_tokens
                writer.write(piece.text)
    except KeyboardInterrupt:
        answer.is_interrupted = True
    finally:
        writer.close()
    answer.seconds = time.perf_counter() - started
    return answer


class PlainWriter:
    """Writes text as it comes."""

    def __init__(self, console: Console) -> None:
        """Writes to a console."""
        self._console = console

    def write(self, text: str) -> None:
        """Adds text."""
        self._console.out(text, end="", highlight=False)
        self._console.file.flush()

    def close(self) -> None:
        """Ends the line."""
        self._console.out()


class MarkdownWriter:
    """Renders Markdown while it comes: finished blocks once and for all, the last one again with every piece.

    Only the last block is redrawn, so that answers longer than the screen neither flicker nor leave copies behind.
    """

    def __init__(self, console: Console) -> None:
        """Writes to a terminal."""
        self._console = console
        self._open = ""
        self._live = Live(console=console, refresh_per_second=12, transient=True, get_renderable=self._render)
        self._live.start()

    def write(self, text: str) -> None:
        """Adds text."""
        done, self._open = split_blocks(self._open + text)
        if done.strip():
            self._console.print(AnswerMarkdown(done))
            self._console.print()

    def close(self) -> None:
        """Renders what is left."""
        rest, self._open = self._open, ""
        self._live.stop()
        if rest.strip():
            self._console.print(AnswerMarkdown(rest))

    def _render(self) -> RenderableType:
        if not self._open.strip():
            return Text("")
        lines = self._console.render_lines(AnswerMarkdown(self._open), pad=False)
        # The end of a block that is higher than the screen is the part that grows.
        visible = lines[-max(self._console.height - 1, 1) :]
        return Text("\n").join(Text.assemble(*((part.text, part.style or "") for part in line)) for line in visible)


def split_blocks(text: str) -> tuple[str, str]:
    """Splits Markdown after the last blank line that is not inside a fenced block: (finished, still growing)."""
    fence = ""
    end = position = 0
    for line in text.splitlines(keepends=True):
        position += len(line)
        stripped = line.strip()
        if fence:
            fence = "" if stripped.startswith(fence) else fence
        elif stripped.startswith(_FENCES):
            fence = stripped[:3]
        elif not stripped and line.endswith("\n"):
            end = position
    return text[:end], text[end:]
