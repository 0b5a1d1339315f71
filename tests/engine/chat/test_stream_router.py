"""Content, reasoning and calls out of one text."""

from tests.engine.chat.answers import ask, read, read_pieces
from vllm_local.chat.deltas import (
    ContentDelta,
    ParsedAnswer,
    ReasoningDelta,
    ToolCall,
    ToolCallArguments,
    ToolCallStart,
)
from vllm_local.chat.reasoning_formats.gpt_oss import GptOss as GptOssReasoning
from vllm_local.chat.reasoning_formats.think import Think
from vllm_local.chat.stream_router import StreamRouter, parse_answer
from vllm_local.chat.tool_formats.gpt_oss import GptOss
from vllm_local.chat.tool_formats.hermes import Hermes
from vllm_local.chat.tool_formats.mistral import Mistral

TEXT = '<think>\nHm.\n</think>\n\nLook: <tool_call>\n{"name": "now", "arguments": {"a": 1}}\n</tool_call>'


def test_all_three():
    answer = read(TEXT, Hermes(), Think())
    assert answer == ParsedAnswer("Look: ", "Hm.", (ToolCall("id0", "now", '{"a": 1}'),))


def test_deltas_come_as_early_as_they_can():
    pieces = ["<think>", "Hm", ".\n</thi", "nk>\n", "Look", ": <tool", '_call>{"name": "no', 'w", "argum']
    pieces += ['ents": {"a"', ": 1", "}}", "</tool_call>"]
    numbers = iter("0")
    router = StreamRouter(Think(), Hermes(), ask(), make_id=lambda: next(numbers))
    assert [router.feed(piece) for piece in pieces] == [
        [],
        [ReasoningDelta("Hm")],
        [ReasoningDelta(".")],
        [],
        [ContentDelta("Look")],
        [ContentDelta(": ")],
        [],
        [ToolCallStart(0, "0", "now")],
        [ToolCallArguments(0, '{"a"')],
        [ToolCallArguments(0, ": 1")],
        [ToolCallArguments(0, "}")],
        [],
    ]
    assert router.finish() == []
    assert router.num_calls == 1


def test_a_tag_within_thoughts_calls_nothing():
    text = "<think><tool_call>{}</tool_call></think>No."
    assert read(text, Hermes(), Think()) == ParsedAnswer("No.", "<tool_call>{}</tool_call>")


def test_without_tools_markup_is_content():
    for request in (None, ask("none")):
        router = StreamRouter(Think(), Hermes(), request)
        answer = parse_answer(router, TEXT)
        assert answer.content.startswith("Look: <tool_call>")
        assert answer.tool_calls == ()
        assert router.num_calls == 0


def test_without_formats_all_is_content():
    assert read_pieces([" a", "b\n"]) == [ContentDelta(" a"), ContentDelta("b\n")]


def test_gpt_oss_s_channels_by_either_format():
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
        "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>"
    )
    expected = ParsedAnswer("", "Hm.", (ToolCall("id0", "now", "{}"),))
    assert read(text, GptOss(), GptOssReasoning()) == read(text, GptOss()) == expected


def test_ids_are_the_format_s():
    (call,) = parse_answer(StreamRouter(None, Hermes(), ask()), TEXT).tool_calls
    assert call.id.startswith("chatcmpl-tool-")
    assert len(call.id) == len("chatcmpl-tool-") + 16
    (call,) = parse_answer(StreamRouter(None, Mistral(), ask()), "[TOOL_CALLS]now{}").tool_calls
    assert len(call.id) == 9


def test_a_long_answer():
    arguments = '{"a": "' + "long " * 2000 + '"}'
    text = "words " * 2000 + f'<tool_call>{{"name": "now", "arguments": {arguments}}}</tool_call>'
    answer = parse_answer(StreamRouter(Think(), Hermes(), ask()), text)
    assert answer.content == "words " * 2000
    assert [call.arguments for call in answer.tool_calls] == [arguments]
