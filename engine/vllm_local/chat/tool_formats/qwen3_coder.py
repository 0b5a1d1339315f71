"""Arguments in tags, one by one: Qwen3-Coder and Qwen 3.5, and Seed-OSS with another tag around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

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

_FUNCTION, _END_FUNCTION = "<function=", "</function>"
_PARAMETER, _END_PARAMETER = "<parameter=", "</parameter>"


class Qwen3Coder(ToolFormat):
    r"""`<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>`."""

    name = "qwen3_coder"
    vllm_parser_names: ClassVar[tuple[str, ...]] = ("qwen3_coder", "qwen3_xml", "mimo")
    signs = ("<tool_call>", _FUNCTION, _PARAMETER)
    tags: ClassVar[tuple[str, str]] = ("<tool_call>", "</tool_call>")
    openers = ("<tool_call>",)
    markers = ("<tool_call>", "</tool_call>")

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:
        """Arguments in the schema's order."""
        return in_a_row(any_of([self._call(tool) for tool in tools]), one_only, "\n")

    def read(self, source: TextSource, calls: CallWriter) -> Reading[None]:
        """Any blanks between tags, and missing closing tags, are fine."""

        def read_call() -> Reading[bool]:
            yield from source.skip_whitespace()
            if not (yield from source.accept(_FUNCTION)):
                return False
            name = yield from source.read_until(">", "\n", "<")
            if not name or not (yield from source.accept(">")):
                return False
            yield calls.begin(name.strip())
            yield from self._read_parameters(source, calls, name.strip())
            return True

        yield from read_answer(source, calls, dict.fromkeys(self.openers, read_call), (_END_FUNCTION, self.tags[1]))

    def _call(self, tool: Tool) -> Constraint:
        check_parameters(tool, self.name, "<>\n")
        parts: list[Constraint] = [Text(f"{self.tags[0]}\n{_FUNCTION}{tool.name}>\n")]
        for parameter in parameters_of(tool):
            value = bare_value(parameter, _END_PARAMETER, "\n")
            part = Chain((Text(f"{_PARAMETER}{parameter.name}>\n"), value, Text("\n")))
            parts.append(part if parameter.is_required else Repeated(part, 0, 1))
        return Chain((*parts, Text(f"{_END_FUNCTION}\n{self.tags[1]}")))

    def _read_parameters(self, source: TextSource, calls: CallWriter, name: str) -> Reading[None]:
        tool = calls.tool(name)
        lead = "{"
        while True:
            yield from source.skip_whitespace()
            if not (yield from source.accept(_PARAMETER)):
                break
            key = yield from source.read_until(">")
            if key is None:
                return
            source.take(1)
            yield from source.accept("\n")
            parameter = parameter_of(tool, key)
            yield calls.arguments(f"{lead}{quoted(key)}: ")
            lead = ", "
            stops = (f"\n{_END_PARAMETER}", _END_PARAMETER)
            if not (yield from stream_parameter(source, calls, parameter, stops)):
                return
            yield from source.accept(*stops)
        yield from close_arguments(source, calls, is_empty=lead == "{", tags=(_PARAMETER, _END_FUNCTION, self.tags[1]))


class SeedOss(Qwen3Coder):
    """The same within `<seed:tool_call>`."""

    name = "seed_oss"
    vllm_parser_names = ("seed_oss",)
    signs = ("<seed:tool_call>", _FUNCTION, _PARAMETER)
    tags = ("<seed:tool_call>", "</seed:tool_call>")
    openers = ("<seed:tool_call>",)
    markers = tags
