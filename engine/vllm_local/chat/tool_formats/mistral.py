"""Mistral's calls, which stand behind a special token: names and arguments, or in older models a JSON list."""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence

from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter, ToolFormat, any_of, in_a_row
from vllm_local.chat.tool_formats.reading import json_call, read_answer, read_json_calls, read_named_call
from vllm_local.chat.tools import Tool
from vllm_local.grammar_spec import Chain, Constraint, Json, Text

_OPENER, _ARGUMENTS, _ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 9


class _Mistral(ToolFormat):
    """Reads both; they differ in what a call is made to look like."""

    vllm_parser_names = ("mistral",)
    openers = (_OPENER,)
    markers = (_OPENER, _ARGUMENTS, _ID)

    def read(self, source: TextSource, calls: CallWriter) -> Reading[None]:
        """What follows the token says which it is."""

        def read_call() -> Reading[bool]:
            yield from source.skip_whitespace()
            if (yield from source.peek()) == "[":
                return (yield from read_json_calls(source, calls, self.openers))
            return (yield from self._read_named(source, calls))

        yield from read_answer(source, calls, dict.fromkeys(self.openers, read_call))

    def make_call_id(self) -> str:
        """Returns nine letters and digits: the templates take no other ids back."""
        return "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))

    def _read_named(self, source: TextSource, calls: CallWriter) -> Reading[bool]:
        """A separator that the tokenizer lacks is not there; the brace ends the name then."""
        name = yield from source.read_until(_ARGUMENTS, _ID, "{", _OPENER)
        if (yield from source.follows(_OPENER)):
            return False
        if (yield from source.accept(_ID)) and (yield from source.read_until(_ARGUMENTS, "{")) is None:
            return False
        yield from source.accept(_ARGUMENTS)
        return (yield from read_named_call(source, calls, name, self.openers))


class Mistral(_Mistral):
    """`[TOOL_CALLS]f[ARGS]{}`, one after the other."""

    name = "mistral"
    signs = (_OPENER, _ARGUMENTS)

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """Each has the token of its own."""
        call = [Chain((Text(f"{_OPENER}{tool.name}{_ARGUMENTS}"), Json(tool.parameters))) for tool in tools]
        return in_a_row(any_of(call), one_only)


class MistralJson(_Mistral):
    """`[TOOL_CALLS] [{"name": "f", "arguments": {}}, ...]`."""

    name = "mistral_json"
    signs = (_OPENER,)

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """One list."""
        call = in_a_row(any_of([json_call(tool) for tool in tools]), one_only, ", ")
        return Chain((Text(f"{_OPENER} ["), call, Text("]")))
