"""Thoughts in messages of their own: gpt-oss."""

from __future__ import annotations

from vllm_local.chat.harmony import CHANNEL, END, MARKERS, MESSAGE, START, read_harmony
from vllm_local.chat.reasoning_formats.base import ReasoningFormat, ReasoningState, Rest
from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter
from vllm_local.grammar_spec import Chain, Constraint, FreeText, Repeated, Text

_ANALYSIS = f"{CHANNEL}analysis{MESSAGE}"


class GptOss(ReasoningFormat):
    """The channel "analysis"."""

    name = "gpt_oss"
    vllm_parser_names = ("openai_gptoss",)
    markers = MARKERS

    def matches(self, template: str) -> bool:
        """Its template puts earlier thoughts there."""
        return CHANNEL in template and "analysis" in template

    def state(self, prompt: str, template: str, *, continues: bool = False) -> ReasoningState:  # noqa: ARG002 - all alike
        """The model begins with whichever message it likes."""
        return "free"

    def before(self, state: ReasoningState) -> Constraint | None:  # noqa: ARG002 - all alike
        """Any number of thoughts."""
        return Repeated(Chain((Text(_ANALYSIS), FreeText((END,)), Text(f"{END}{START}assistant"))))

    def read(
        self,
        source: TextSource,
        state: ReasoningState,  # noqa: ARG002 - always the same
        calls: CallWriter | None,
        rest: Rest,  # noqa: ARG002 - nothing is left for it
    ) -> Reading[None]:
        """All channels; nothing is left for `rest`."""
        yield from read_harmony(source, calls)
