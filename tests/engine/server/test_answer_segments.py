from vllm_local.chat.deltas import ContentDelta, Delta, ReasoningDelta, ToolCallArguments, ToolCallStart
from vllm_local.server.answer_segments import Segments

DELTAS: list[Delta] = [
    ReasoningDelta("It "),
    ReasoningDelta("rains."),
    ContentDelta("Well"),
    ToolCallStart(0, "a", "now"),
    ToolCallArguments(0, "{"),
    ToolCallArguments(0, "}"),
    ToolCallStart(1, "b", "now"),
    ToolCallArguments(1, "{}"),
    ContentDelta(" then"),
]


def test_a_segment_ends_where_another_kind_or_another_call_begins():
    segments = Segments()
    assert [segments.add(delta) for delta in DELTAS] == [True, False, True, True, False, False, True, False, True]
    assert [(item.kind, item.call_id, item.text) for item in segments.items] == [
        ("reasoning", "", "It rains."),
        ("content", "", "Well"),
        ("call", "a", "{}"),
        ("call", "b", "{}"),
        ("content", "", " then"),
    ]
    assert [item.index for item in segments.items] == list(range(5))
    assert segments.last is segments.items[-1]


def test_every_answer_has_one():
    segments = Segments()
    assert segments.last is None
    assert segments.begin_empty()
    assert not segments.begin_empty()
    assert [(item.kind, item.text) for item in segments.items] == [("content", "")]
    assert not Segments(DELTAS).begin_empty()
