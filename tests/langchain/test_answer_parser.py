from typing import Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from pydantic import BaseModel

from langchain_vllm_local._answer_parser import AnswerParser
from langchain_vllm_local._schemas import answer_schema

POINT = {
    "title": "Point",
    "type": "object",
    "properties": {"x": {"type": "integer"}, "label": {"type": "string"}},
    "required": ["x"],
}


class Point(BaseModel):
    x: int
    label: str = ""


def parser(schema: Any = Point, *, call=False):
    return AnswerParser(answer=answer_schema(schema), from_tool_call=call)


def texts(*pieces):
    return [AIMessageChunk(content=piece) for piece in pieces]


def calls(*pieces, name="Point"):
    first = tool_call_chunk(name=name, args="", id="1", index=0)
    others = [tool_call_chunk(args=piece, index=0) for piece in pieces]
    return [AIMessageChunk(content="", tool_call_chunks=[chunk]) for chunk in (first, *others)]


@pytest.mark.parametrize("text", ['{"x": 1}', ' {"x": 1}\n', '```json\n{"x": 1}\n```'])
def test_whole_answers(text):
    assert parser().invoke(AIMessage(text)) == Point(x=1)
    assert parser(POINT).invoke(AIMessage(text)) == {"x": 1}
    assert parser().parse(text) == Point(x=1)


def test_arguments_of_a_call():
    message = AIMessage("so", tool_calls=[{"name": "Point", "args": {"x": 1}, "id": "1"}])
    assert parser(call=True).invoke(message) == Point(x=1)


INVALID = [{"name": "Point", "args": '{"x": 1, "label": "a', "id": "1", "error": None, "type": "invalid_tool_call"}]
OTHER = [{"name": "Line", "args": {}, "id": "1", "type": "tool_call"}]


@pytest.mark.parametrize(
    ("message", "call", "problem"),
    [
        (AIMessage(""), False, "The answer is empty"),
        (AIMessage("one"), False, "is not JSON.*'one'"),
        (AIMessage('{"x": 1, "lab'), False, "is not JSON"),
        (AIMessage('{"x": "a"}'), False, "is not what 'Point' asks for.*x"),
        (AIMessage('{"label": "a"}'), False, "is not what 'Point' asks for"),
        (AIMessage('{"x', response_metadata={"finish_reason": "length"}), False, "max_tokens"),
        (AIMessage("no", invalid_tool_calls=INVALID), True, "is not JSON"),
        (AIMessage("no", tool_calls=OTHER), True, "has no call of the tool 'Point', but of Line"),
        (AIMessage("no"), True, "has no call of the tool 'Point'. It reads: 'no'"),
    ],
)
@pytest.mark.parametrize("schema", [Point, POINT], ids=["class", "dict"])
def test_what_is_wrong_is_said(message, call, problem, schema):
    with pytest.raises(OutputParserException, match=problem) as caught:
        parser(schema, call=call).invoke(message)
    assert caught.value.llm_output is not None


def test_dicts_grow_in_a_stream():
    pieces = texts('{"x', '": 1', "2, ", '"label": "a', 'b"}')
    shown = list(parser(POINT).transform(iter(pieces)))
    assert shown[-1] == {"x": 12, "label": "ab"}
    assert {"x": 12, "label": "a"} in shown
    assert all(isinstance(item, dict) for item in shown)


def test_instances_come_when_they_are_valid():
    pieces = texts('{"label', '": "a', 'b", ', '"x": 1', "2}")
    assert list(parser().transform(iter(pieces))) == [Point(x=1, label="ab"), Point(x=12, label="ab")]


async def test_async_streams_do_the_same():
    async def chunks():
        for piece in calls('{"x": 1', ', "label": "a', 'b"}'):
            yield piece

    shown = [item async for item in parser(POINT, call=True).atransform(chunks())]
    assert shown == [{}, {"x": 1}, {"x": 1, "label": "a"}, {"x": 1, "label": "ab"}]
    assert list(parser(call=True).transform(iter(calls('{"x": 1}')))) == [Point(x=1)]


@pytest.mark.parametrize(
    ("pieces", "call"),
    [(texts('{"x": 1, "label', '": "a'), False), (calls('{"x": 1, "label', '": "a'), True), (texts("{}"), False)],
    ids=["text", "call", "lacking"],
)
@pytest.mark.parametrize("schema", [Point, POINT], ids=["class", "dict"])
def test_a_stream_that_ends_too_early_is_an_error(schema, pieces, call):
    with pytest.raises(OutputParserException):
        list(parser(schema, call=call).transform(iter(pieces)))


def test_a_stream_of_nothing_gives_nothing():
    assert list(parser().transform(iter([]))) == []


def test_what_comes_out_is_known():
    assert parser().OutputType is Point
    assert parser(POINT).OutputType is dict
