"""A JSON list behind a marker: Granite 3."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter, ToolFormat, any_of, in_a_row
from vllm_local.chat.tool_formats.reading import json_call, read_answer, read_json_calls
from vllm_local.chat.tools import Tool
from vllm_local.grammar_spec import Chain, Constraint, Text

_TOKEN, _TAG = "<|tool_call|>", "<tool_call>"


class Granite(ToolFormat):
    """`<|tool_call|>[{"name": "f", "arguments": {}}, ...]`; Granite 3.1 writes `<tool_call>`."""

    name = "granite"
    vllm_parser_names = ("granite",)
    signs = ("<|start_of_role|>", _TOKEN)
    openers = (_TOKEN, _TAG)
    markers = openers

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """One list."""
        call = in_a_row(any_of([json_call(tool) for tool in tools]), one_only, ", ")
        return Chain((Text(f"{_TOKEN}["), call, Text("]")))

    def read(self, source: TextSource, calls: CallWriter) -> Reading[None]:
        """The list may stand behind blanks."""

        def read_call() -> Reading[bool]:
            yield from source.skip_whitespace()
            return (yield from read_json_calls(source, calls))

        yield from read_answer(source, calls, dict.fromkeys(self.openers, read_call))
