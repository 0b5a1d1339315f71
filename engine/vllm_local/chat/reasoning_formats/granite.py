"""Thoughts between two sentences: Granite 3.2 and 3.3."""

from __future__ import annotations

from vllm_local.chat.reasoning_formats.base import ReasoningState
from vllm_local.chat.reasoning_formats.tags import TaggedReasoning

_THOUGHTS, _ANSWER = "my thought process:", "my response:"


class Granite(TaggedReasoning):
    """The template only asks for the sentences; the model writes both, in one of two spellings."""

    name = "granite"
    vllm_parser_names = ("granite",)
    starts = (f"Here is {_THOUGHTS}", f"Here's {_THOUGHTS}")
    ends = (f"Here is {_ANSWER}", f"Here's {_ANSWER}")
    end = ends[0]

    def matches(self, template: str) -> bool:
        """The instructions quote the first sentence without what may follow it."""
        return any(text.rstrip(":") in template for text in self.starts)

    def state(self, prompt: str, template: str, *, continues: bool = False) -> ReasoningState:
        """No prompt opens the block, unless it is the assistant's own words."""
        return super().state(prompt, template, continues=True) if continues else "free"
