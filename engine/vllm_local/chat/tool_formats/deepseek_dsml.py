"""DeepSeek V3.2's markup: arguments in tags, which say themselves whether they are texts."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter, ToolFormat, any_of, in_a_row
from vllm_local.chat.tool_formats.parameters import (
    Parameter,
    check_parameters,
    close_arguments,
    parameter_of,
    parameters_of,
    quoted,
    stream_parameter,
)
from vllm_local.chat.tool_formats.reading import read_answer
from vllm_local.chat.tools import Tool
from vllm_local.grammar_spec import Chain, Constraint, FreeText, Json, Repeated, Text

_MARK = "｜DSML｜"
_OPEN, _CLOSE = f"<{_MARK}function_calls>", f"</{_MARK}function_calls>"
_INVOKE, _END_INVOKE = f'<{_MARK}invoke name="', f"</{_MARK}invoke>"
_PARAMETER, _END_PARAMETER = f'<{_MARK}parameter name="', f"</{_MARK}parameter>"
_IS_TEXT, _IS_JSON = '" string="true">', '" string="false">'


class DeepSeekDsml(ToolFormat):
    """`<｜DSML｜function_calls>`, and in it an `invoke` a call and a `parameter` an argument."""

    name = "deepseek_v32"
    vllm_parser_names = ("deepseek_v32",)
    signs = (_MARK,)
    openers = (_OPEN,)
    markers = (_MARK,)

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """All calls in one block, arguments in the schema's order."""
        # The line break belongs to the call: no two ways on may begin alike and part within a text.
        calls = in_a_row(any_of([self._call(tool) for tool in tools]), one_only)
        return Chain((Text(f"{_OPEN}\n"), calls, Text(_CLOSE)))

    def read(self, source: TextSource, calls: CallWriter) -> Reading[None]:
        """Any blanks between tags are fine."""

        def read_block() -> Reading[bool]:
            yield from source.skip_whitespace()
            return bool((yield from source.accept(_INVOKE))) and (yield from read_call())

        def read_call() -> Reading[bool]:
            name = yield from source.read_until('"')
            if not name or not (yield from source.accept('">')):
                return False
            yield calls.begin(name)
            yield from self._read_parameters(source, calls, name)
            return True

        readers = {_OPEN: read_block, _INVOKE: read_call}
        yield from read_answer(source, calls, readers, (_END_INVOKE, _CLOSE))

    def _call(self, tool: Tool) -> Constraint:
        check_parameters(tool, self.name, '<>"\n')
        parts: list[Constraint] = [Text(f'{_INVOKE}{tool.name}">\n')]
        for parameter in parameters_of(tool):
            part = Chain((Text(f"{_PARAMETER}{parameter.name}"), _value(parameter), Text("\n")))
            parts.append(part if parameter.is_required else Repeated(part, 0, 1))
        return Chain((*parts, Text(f"{_END_INVOKE}\n")))

    def _read_parameters(self, source: TextSource, calls: CallWriter, name: str) -> Reading[None]:
        tool = calls.tool(name)
        lead = "{"
        while True:
            yield from source.skip_whitespace()
            if not (yield from source.accept(_PARAMETER)):
                break
            key = yield from source.read_until('"')
            attribute = yield from source.accept(_IS_TEXT, _IS_JSON, '">')
            if not key or not attribute:
                return
            yield calls.arguments(f"{lead}{quoted(key)}: ")
            lead = ", "
            parameter = parameter_of(tool, key)
            is_text = parameter.is_text if attribute == '">' else attribute == _IS_TEXT
            if not (yield from stream_parameter(source, calls, parameter, (_END_PARAMETER,), is_text=is_text)):
                return
            source.take(len(_END_PARAMETER))
        yield from close_arguments(source, calls, is_empty=lead == "{", tags=(_PARAMETER, _END_INVOKE, _CLOSE))


def _value(parameter: Parameter) -> Constraint:
    if parameter.is_text:
        return Chain((Text(_IS_TEXT), FreeText((_END_PARAMETER,)), Text(_END_PARAMETER)))
    return Chain((Text(_IS_JSON), Json(parameter.schema), Text(_END_PARAMETER)))
