"""Markdown as models write it."""

from __future__ import annotations

from markdown_it import MarkdownIt
from rich.markdown import Markdown


class AnswerMarkdown(Markdown):
    """rich's Markdown that shows all of an answer: tags such as <think> as they are, and lines where they end.

    rich itself leaves HTML out, and joins the lines of a paragraph.
    """

    def __init__(self, text: str) -> None:
        """Parses a text."""
        super().__init__("")
        parser = MarkdownIt("commonmark", {"html": False}).enable("strikethrough").enable("table")
        self.parsed = parser.parse(text)
        for token in self.parsed:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"
