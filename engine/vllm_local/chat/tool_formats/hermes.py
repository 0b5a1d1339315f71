"""JSON objects in `<tool_call>` tags: Hermes, Qwen 2.5 and 3, Granite 4, the starter model and many others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter, ToolFormat, any_of, in_a_row
from vllm_local.chat.tool_formats.reading import json_call, read_answer, read_json_call
from vllm_local.chat.tools import Tool
from vllm_local.grammar_spec import Chain, Constraint, Text

OPENER, CLOSER = "<tool_call>", "</tool_call>"


class Hermes(ToolFormat):
    r"""`<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>`, one after the other."""

    name = "hermes"
    vllm_parser_names: ClassVar[tuple[str, ...]] = ("hermes", "granite4")
    signs: ClassVar[tuple[str, ...]] = (OPENER,)
    openers = (OPENER,)
    markers = (OPENER, CLOSER)

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """The form that models of this format are trained on, line breaks included."""
        ends = Text(f"{OPENER}\n"), Text(f"\n{CLOSER}")
        call = any_of([Chain((ends[0], json_call(tool), ends[1])) for tool in tools])
        return in_a_row(call, one_only, "\n")

    def read(self, source: TextSource, calls: CallWriter) -> Reading[None]:
        """Any blanks, and a missing closing tag, are fine."""

        def read_call() -> Reading[bool]:
            yield from source.skip_whitespace()
            return (yield from read_json_call(source, calls, (CLOSER,)))

        yield from read_answer(source, calls, dict.fromkeys(self.openers, read_call), (CLOSER,))
