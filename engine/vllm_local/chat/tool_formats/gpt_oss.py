"""Messages to functions: gpt-oss."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_local.chat.harmony import CHANNEL, CONSTRAIN, END, FUNCTIONS, MARKERS, MESSAGE, START, read_harmony
from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter, ToolFormat, any_of
from vllm_local.chat.tools import Tool, ToolRequest
from vllm_local.grammar_spec import Chain, Constraint, FreeText, Json, OneOf, Repeated, Text

_FINAL = f"{CHANNEL}final{MESSAGE}"
_PREAMBLE = f"{CHANNEL}commentary{MESSAGE}"


class GptOss(ToolFormat):
    """`<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}`, and the token that ends the answer."""

    name = "gpt_oss"
    vllm_parser_names = ("openai",)
    signs = (CHANNEL, f"to={FUNCTIONS}")
    openers = (CHANNEL,)
    markers = MARKERS

    def calls(self, tools: Sequence[Tool], one_only: bool) -> Constraint:  # noqa: ARG002 - there is never a second one
        """One: the token behind it ends the answer."""
        heads = [Text(f"{CHANNEL}commentary to={FUNCTIONS}{tool.name} {CONSTRAIN}json{MESSAGE}") for tool in tools]
        return any_of([Chain((head, Json(tool.parameters))) for head, tool in zip(heads, tools, strict=True)])

    def constraint(self, request: ToolRequest, response: Constraint | None = None) -> Constraint | None:
        """An answer to the user stands in the channel for it."""
        return super().constraint(request, None if response is None else Chain((Text(_FINAL), response)))

    def either(self, calls: Constraint, response: Constraint | None) -> Constraint:
        """What is said before a call is a message of its own."""
        preamble = Chain((Text(_PREAMBLE), FreeText((END,)), Text(f"{END}{START}assistant")))
        answer = response or Chain((Text(_FINAL), FreeText()))
        return OneOf((Chain((Repeated(preamble, 0, 1), calls)), answer))

    def read(self, source: TextSource, calls: CallWriter) -> Reading[None]:
        """All channels: the calls cannot be told from the rest without them."""
        yield from read_harmony(source, calls)
