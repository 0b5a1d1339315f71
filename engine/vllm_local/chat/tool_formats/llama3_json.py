"""A bare JSON object: Llama 3.1 to 3.3, Llama 4 with the JSON template."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_local.chat.deltas import ContentDelta
from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter, ToolFormat, any_of, in_a_row
from vllm_local.chat.tool_formats.reading import json_call, read_answer, read_json_call
from vllm_local.chat.tools import Tool
from vllm_local.grammar_spec import Chain, Constraint, OneOf, Pattern, Repeated, Text

_MARKER = "<|python_tag|>"
_SEPARATORS = (";", ",")

# Blanks, a brace, blanks and `"name"` begin a call. So other text is blanks, or goes on without the brace, or goes on
# behind it with anything but that key; each bracket below is one more character that the key has, and a way out of it.
_NOT_NAME = r'("(n(a(m(e([^"](?s:.)*)?|[^e](?s:.)*)?|[^m](?s:.)*)?|[^a](?s:.)*)?|[^n](?s:.)*)?)?'
_NO_CALL = rf'\s*([^\s{{](?s:.)*|\{{\s*([^\s"](?s:.)*|{_NOT_NAME})?)?'


class Llama3Json(ToolFormat):
    """`{"name": "f", "parameters": {}}` as the whole answer; several with `; ` between."""

    name = "llama3_json"
    vllm_parser_names = ("llama3_json", "llama4_json")
    signs = ('"parameters": dictionary of argument name',)
    openers = (_MARKER,)
    markers = (_MARKER,)

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """Without the marker, which a model may write before its first call."""
        call = any_of([json_call(tool, "parameters") for tool in tools])
        return in_a_row(call, one_only, "; ")

    def either(self, calls: Constraint, response: Constraint | None) -> Constraint:
        """A call is the whole answer, so the first characters decide."""
        marked = Chain((Repeated(Text(_MARKER), 0, 1), calls))
        return OneOf((marked, Pattern(_NO_CALL) if response is None else response))

    def read(self, source: TextSource, calls: CallWriter) -> Reading[None]:
        """An object of a known tool's name at the beginning is a call, as is any behind the marker."""

        def read_marked() -> Reading[bool]:
            yield from source.skip_whitespace()
            return (yield from self._read_row(source, calls, known_only=False))

        source.mark()
        blank = yield from source.skip_whitespace()
        if (yield from source.peek()) == "{":
            if not (yield from self._read_row(source, calls, known_only=True)):
                source.take_back()
                yield ContentDelta(source.take(len(blank) + 1))
        else:
            source.take_back()
        yield from read_answer(source, calls, dict.fromkeys(self.openers, read_marked))

    def _read_row(self, source: TextSource, calls: CallWriter, *, known_only: bool) -> Reading[bool]:
        if not (yield from read_json_call(source, calls, known_only=known_only)):
            return False
        while True:
            source.mark()
            yield from source.skip_whitespace()
            yield from source.accept(*_SEPARATORS)
            yield from source.skip_whitespace()
            yield from source.accept(_MARKER)
            if not (yield from read_json_call(source, calls, known_only=True)):
                source.take_back()
                source.drop_cut_off()
                return True
