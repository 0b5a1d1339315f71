"""A JSON list behind a marker: Phi-4-mini, by its own template and by the one that vLLM offers for it."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter, ToolFormat, any_of, in_a_row
from vllm_local.chat.tool_formats.reading import json_call, read_answer, read_json_calls, read_json_items
from vllm_local.chat.tools import Tool
from vllm_local.grammar_spec import Chain, Constraint, Text

_OPENER, _CLOSER = "<|tool_call|>", "<|/tool_call|>"
_FUNCTOOLS = "functools["


class _Phi4(ToolFormat):
    """Reads both; they differ in what a call is made to look like."""

    openers = (_OPENER, _FUNCTOOLS)
    markers = (_OPENER, _CLOSER)

    def read(self, source: TextSource, calls: CallWriter) -> Reading[None]:
        """The closing marker may be missing."""

        def read_list() -> Reading[bool]:
            yield from source.skip_whitespace()
            return (yield from read_json_calls(source, calls, (_CLOSER,)))

        def read_items() -> Reading[bool]:
            return (yield from read_json_items(source, calls))

        yield from read_answer(source, calls, {_OPENER: read_list, _FUNCTOOLS: read_items}, (_CLOSER,))


class Phi4Functools(_Phi4):
    """`functools[{"name": "f", "arguments": {}}, ...]`."""

    name = "phi4_functools"
    vllm_parser_names = ("phi4_mini_json",)
    signs = ("functools",)

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """One list."""
        call = in_a_row(any_of([json_call(tool) for tool in tools]), one_only, ", ")
        return Chain((Text(_FUNCTOOLS), call, Text("]")))


class Phi4(_Phi4):
    """`<|tool_call|>[{"name": "f", "arguments": {}}, ...]<|/tool_call|>`."""

    name = "phi4"
    vllm_parser_names = ("phi4_mini_json",)
    signs = ("<|tool|>", "<|/tool|>")

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """One list."""
        call = in_a_row(any_of([json_call(tool) for tool in tools]), one_only, ", ")
        return Chain((Text(f"{_OPENER}["), call, Text(f"]{_CLOSER}")))
