"""Arguments as pairs of tags: GLM 4.5 and later."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter, ToolFormat, any_of, in_a_row
from vllm_local.chat.tool_formats.parameters import (
    bare_value,
    check_parameters,
    close_arguments,
    parameter_of,
    parameters_of,
    quoted,
    stream_parameter,
)
from vllm_local.chat.tool_formats.reading import read_answer
from vllm_local.chat.tools import Tool
from vllm_local.grammar_spec import Chain, Constraint, Repeated, Text

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_KEY, _END_KEY = "<arg_key>", "</arg_key>"
_VALUE, _END_VALUE = "<arg_value>", "</arg_value>"


class _Glm(ToolFormat):
    """Reads both; they differ in what a call is made to look like."""

    openers = (_OPEN,)
    markers = (_OPEN, _CLOSE, _KEY, _END_KEY, _VALUE, _END_VALUE)
    line_break: str

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """Arguments in the schema's order."""
        return in_a_row(any_of([self._call(tool) for tool in tools]), one_only, self.line_break)

    def read(self, source: TextSource, calls: CallWriter) -> Reading[None]:
        """Line breaks between tags may be there or not."""

        def read_call() -> Reading[bool]:
            yield from source.skip_whitespace()
            name = yield from source.read_until("\n", "<")
            if name is None or len(name.split()) != 1:
                return False
            yield from source.skip_whitespace()
            if not (yield from source.follows(_KEY)) and not (yield from source.follows(_CLOSE)):
                return False
            yield calls.begin(name.strip())
            yield from self._read_pairs(source, calls, name.strip())
            return True

        yield from read_answer(source, calls, dict.fromkeys(self.openers, read_call), (_CLOSE,))

    def _call(self, tool: Tool) -> Constraint:
        check_parameters(tool, self.name, "<>\n")
        parts: list[Constraint] = [Text(f"{_OPEN}{tool.name}{self.line_break}")]
        for parameter in parameters_of(tool):
            head = Text(f"{_KEY}{parameter.name}{_END_KEY}{self.line_break}{_VALUE}")
            part = Chain((head, bare_value(parameter, _END_VALUE), Text(self.line_break)))
            parts.append(part if parameter.is_required else Repeated(part, 0, 1))
        return Chain((*parts, Text(_CLOSE)))

    def _read_pairs(self, source: TextSource, calls: CallWriter, name: str) -> Reading[None]:
        tool = calls.tool(name)
        lead = "{"
        while (yield from source.accept(_KEY)):
            key = yield from source.read_until(_END_KEY)
            if key is None:
                return
            source.take(len(_END_KEY))
            yield from source.skip_whitespace()
            if not (yield from source.accept(_VALUE)):
                return
            yield calls.arguments(f"{lead}{quoted(key.strip())}: ")
            lead = ", "
            if not (yield from stream_parameter(source, calls, parameter_of(tool, key.strip()), (_END_VALUE,))):
                return
            source.take(len(_END_VALUE))
            yield from source.skip_whitespace()
        yield from close_arguments(source, calls, is_empty=lead == "{", tags=(_KEY, _CLOSE))


class Glm45(_Glm):
    r"""`<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>`."""

    name = "glm45"
    vllm_parser_names = ("glm45",)
    signs = (_KEY, "{function-name}\\n")
    line_break = "\n"


class Glm47(_Glm):
    """The same without line breaks."""

    name = "glm47"
    vllm_parser_names = ("glm47",)
    signs = (_KEY,)
    line_break = ""
