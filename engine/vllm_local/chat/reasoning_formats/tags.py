"""Thoughts between an opening and a closing text."""

from __future__ import annotations

from typing import ClassVar

from vllm_local.chat.deltas import ReasoningDelta
from vllm_local.chat.reasoning_formats.base import ReasoningFormat, ReasoningState, Rest
from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter
from vllm_local.grammar_spec import Chain, Constraint, FreeText, Pattern, Repeated, Text

_LINE_BREAKS = Pattern("\n{0,2}")
_GENERATION = "add_generation_prompt"


class TaggedReasoning(ReasoningFormat):
    """One block at the beginning of an answer, which the prompt may have opened; blanks around it are dropped.

    Attributes:
        ends: What closes it.
    """

    ends: ClassVar[tuple[str, ...]]

    def matches(self, template: str) -> bool:
        """It shows an opening or a closing text."""
        return any(text in template for text in (*self.starts, *self.ends))

    def state(self, prompt: str, template: str, *, continues: bool = False) -> ReasoningState:
        """What the prompt ends with says it."""
        tail = prompt.rstrip()
        if tail.endswith(self.starts):
            return "open"
        if tail.endswith(self.ends):
            return "closed"
        if continues:
            opened = max(prompt.rfind(text) for text in self.starts)
            return "open" if opened > max(prompt.rfind(text) for text in self.ends) else "closed"
        # A template that opens the block itself, and has not, was told to have none.
        generation = template.rpartition(_GENERATION)[2]
        opens = any(text in generation for text in self.starts)
        return "closed" if opens and not any(text in generation for text in self.ends) else "free"

    def before(self, state: ReasoningState) -> Constraint | None:
        """The block, where it is the model's to write or not; else the blanks that often follow it."""
        if state == "closed":
            return None
        if state == "open":
            return _LINE_BREAKS
        start, end = self.starts[0], self.ends[0]
        return Repeated(Chain((Text(start), FreeText((end,)), Text(end), _LINE_BREAKS)), 0, 1)

    def read(
        self,
        source: TextSource,
        state: ReasoningState,
        calls: CallWriter | None,  # noqa: ARG002 - there are none among these thoughts
        rest: Rest,
    ) -> Reading[None]:
        """Some models open the block although the prompt did; a block later on is content."""
        source.mark()
        yield from source.skip_whitespace()
        is_opened = bool((yield from source.accept(*self.starts)))
        if is_opened or state == "open":
            source.unmark()
            yield from self._read_block(source)
            yield from source.skip_whitespace()
        else:
            source.take_back()
        yield from rest()

    def _read_block(self, source: TextSource) -> Reading[None]:
        blank, has_begun = "", False
        while True:
            blank += yield from source.skip_whitespace()
            if (yield from source.accept(*self.ends)) or not (yield from source.peek()):
                return
            if blank and has_begun:
                yield ReasoningDelta(blank)
            blank, has_begun = "", True
            yield from source.stream_until((*self.ends, "\n"), ReasoningDelta)
