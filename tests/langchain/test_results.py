from functools import reduce
from operator import add
from typing import Any

import pytest

from langchain_vllm_local._results import (
    AnswerReader,
    ChunkStream,
    chat_result,
    combine_llm_outputs,
    openai_logprobs,
    read_tool_calls,
)
from vllm_local.chat.reasoning_formats.think import Think
from vllm_local.chat.stream_router import StreamRouter
from vllm_local.chat.tool_formats.hermes import Hermes
from vllm_local.chat.tools import read_tool_request
from vllm_local.outputs import CompletionOutput, Logprob, RequestOutput

PLAIN = AnswerReader(make_router=StreamRouter, thinks=False, count_tokens=len)
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {}}}}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
THOUGHT = "<think>\nhm\n</think>\n\n"


def reader(**values):
    """Reads thoughts, and calls of `add`."""

    def make_router():
        return StreamRouter(Think(), Hermes(), read_tool_request([ADD]))

    return AnswerReader(**{"make_router": make_router, "thinks": True, "count_tokens": len, **values})


def streamed(text, size=3, reason="stop", **values):
    """The chunks of a text that comes in pieces."""
    stream = ChunkStream("m", reader(**values))
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    outputs = [request(answer(piece, None, ids=[1]), finished=False) for piece in pieces]
    return [chunk for output in [*outputs, request(answer("", reason, ids=[]))] for chunk in stream.chunks(output)]


def answer(text="hi", reason="stop", index=0, **values):
    return CompletionOutput(index, text, values.pop("ids", [1, 2]), finish_reason=reason, **values)


def request(*answers, finished=True):
    return RequestOutput("id1", None, [5] * 10, list(answers), finished, num_cached_tokens=4, num_generated_tokens=6)


def logprobs_of(one, top_logprobs):
    return (openai_logprobs(one, top_logprobs) or {})["content"]


def test_a_result_has_chatopenais_metadata():
    result: Any = chat_result(request(answer()), "m", PLAIN)
    message = result.generations[0].message
    assert message.content == "hi"
    assert message.usage_metadata == {
        "input_tokens": 10,
        "output_tokens": 6,
        "total_tokens": 16,
        "input_token_details": {"cache_read": 4},
    }
    metadata = message.response_metadata
    assert set(metadata) == {
        "token_usage",
        "model_name",
        "model_provider",
        "system_fingerprint",
        "id",
        "finish_reason",
        "logprobs",
    }
    assert (metadata["model_name"], metadata["model_provider"], metadata["id"]) == ("m", "vllm_local", "id1")
    assert metadata["finish_reason"] == result.generations[0].generation_info["finish_reason"] == "stop"
    assert result.llm_output["token_usage"]["prompt_tokens_details"] == {"cached_tokens": 4}


def test_n_answers_are_n_generations():
    result: Any = chat_result(request(answer("a"), answer("b", "length", 1)), "m", PLAIN)
    assert [generation.text for generation in result.generations] == ["a", "b"]
    assert [generation.generation_info["finish_reason"] for generation in result.generations] == ["stop", "length"]


def test_names_and_usage_come_once_on_the_last_chunk():
    stream = ChunkStream("m", PLAIN)
    chunks: list[Any] = [
        *stream.chunks(request(answer("a", None, ids=[1]), finished=False)),
        *stream.chunks(request(answer("b", "stop", ids=[2]))),
    ]
    assert [chunk.message.response_metadata for chunk in chunks[:-1]] == [{}, {}]
    assert [chunk.message.usage_metadata for chunk in chunks[:-1]] == [None, None]
    assert [chunk.message.chunk_position for chunk in chunks] == [None, None, "last"]
    total: Any = reduce(add, chunks)
    assert total.text == "ab"
    assert total.message.response_metadata["model_name"] == "m"
    assert total.generation_info["finish_reason"] == "stop"
    assert total.message.usage_metadata["total_tokens"] == 16


def test_usage_can_be_left_out_of_a_stream():
    last: Any = ChunkStream("m", PLAIN, with_usage=False).chunks(request(answer()))[-1]
    assert last.message.usage_metadata is None


def test_a_last_output_without_text_is_one_chunk():
    (chunk,) = ChunkStream("m", PLAIN).chunks(request(answer("", "length", ids=[])))
    assert chunk.generation_info == {"finish_reason": "length"}


def test_logprobs_have_openais_shape():
    by_id = [
        {1: Logprob(-0.1, 1, "é"), 9: Logprob(-3.0, 2, "x")},
        {2: Logprob(-4.0, 7, "\ufffd"), 3: Logprob(-0.2, 1, "y")},
    ]
    content = logprobs_of(answer(logprobs=by_id), 1)
    assert content[0] == {
        "token": "é",
        "logprob": -0.1,
        "bytes": [195, 169],
        "top_logprobs": [{"token": "é", "logprob": -0.1, "bytes": [195, 169]}],
    }
    assert content[1]["bytes"] is None
    assert [item["token"] for item in content[1]["top_logprobs"]] == ["y"]
    assert logprobs_of(answer(logprobs=by_id), 0)[0]["top_logprobs"] == []
    assert openai_logprobs(answer(), 3) is None


def test_logprobs_of_a_stream_add_up():
    outputs = [
        request(answer("a", None, ids=[1], logprobs=[{1: Logprob(-0.1, 1, "a")}]), finished=False),
        request(answer("b", "stop", ids=[2], logprobs=[{2: Logprob(-0.2, 1, "b")}])),
    ]
    stream = ChunkStream("m", PLAIN)
    total: Any = reduce(add, [chunk for output in outputs for chunk in stream.chunks(output)])
    assert [item["token"] for item in total.generation_info["logprobs"]["content"]] == ["a", "b"]


@pytest.mark.parametrize("missing", [None, {}, {"token_usage": {}}])
def test_usage_of_several_conversations_adds_up(missing):
    one: Any = chat_result(request(answer()), "m", PLAIN).llm_output
    total: Any = combine_llm_outputs([one, missing, one], "other")
    assert total["token_usage"] == {
        "prompt_tokens": 20,
        "completion_tokens": 12,
        "total_tokens": 32,
        "prompt_tokens_details": {"cached_tokens": 8},
    }
    assert total["model_name"] == "m"
    assert combine_llm_outputs([missing], "other") == {"token_usage": {}, "model_name": "other"}


def test_calls_and_thoughts_leave_the_text():
    result: Any = chat_result(request(answer(f"{THOUGHT}Sure. {CALL}{CALL}")), "m", reader())
    message = result.generations[0].message
    assert message.text.strip() == "Sure."
    assert message.additional_kwargs == {"reasoning_content": "hm"}
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("add", {"a": 1})] * 2
    assert len({call["id"] for call in message.tool_calls}) == 2
    assert message.response_metadata["finish_reason"] == "tool_calls"
    assert message.usage_metadata["output_token_details"] == {"reasoning": 2}
    assert message.response_metadata["token_usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}
    kinds = [block["type"] for block in message.content_blocks]
    assert kinds == ["reasoning", "text", "tool_call", "tool_call"]


def test_a_named_tools_call_stops_as_a_text_does():
    result: Any = chat_result(request(answer(CALL)), "m", reader(tool_is_named=True))
    assert result.generations[0].generation_info["finish_reason"] == "stop"
    assert streamed(CALL, tool_is_named=True)[-1].generation_info == {"finish_reason": "stop"}


def test_thoughts_can_be_left_out():
    result: Any = chat_result(request(answer(f"{THOUGHT}hi")), "m", reader(include_reasoning=False))
    message = result.generations[0].message
    assert (message.content, message.additional_kwargs) == ("hi", {})
    assert message.usage_metadata["output_token_details"] == {"reasoning": 2}
    total: Any = reduce(add, streamed(f"{THOUGHT}hi", include_reasoning=False))
    assert (total.text, total.message.additional_kwargs) == ("hi", {})


def test_a_call_that_was_cut_off_is_invalid():
    result: Any = chat_result(request(answer(CALL[:46], "length")), "m", reader())
    message = result.generations[0].message
    (invalid,) = message.invalid_tool_calls
    assert (invalid["name"], message.tool_calls) == ("add", [])
    assert "not JSON" in invalid["error"]
    assert message.response_metadata["finish_reason"] == "length"


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_wherever_a_call_is_cut_off_it_is_invalid_streamed_or_not(size):
    text = CALL.replace("1", '[1, {"b": "x\\\\\\"\\u00fc"}]')
    assert chat_message(text).tool_calls[0]["args"] == {"a": [1, {"b": 'x\\"ü'}]}
    begun = 0
    for end in range(len(text) - len("}\n</tool_call>")):
        whole = chat_message(text[:end], "length")
        total: Any = reduce(add, streamed(text[:end], size, reason="length")).message
        assert total.tool_calls == whole.tool_calls == []
        assert [call["name"] for call in total.invalid_tool_calls] == [
            call["name"] for call in whole.invalid_tool_calls
        ]
        begun += len(whole.invalid_tool_calls)
    assert begun > 20


def chat_message(text, reason="stop"):
    message: Any = chat_result(request(answer(text, reason)), "m", reader()).generations[0].message
    return message


def test_arguments_that_are_no_object_are_invalid():
    valid, invalid = read_tool_calls([("1", "f", ""), ("2", "f", "[1]"), ("3", "f", '{"a": 1}')])
    assert [(call["id"], call["args"]) for call in valid] == [("1", {}), ("3", {"a": 1})]
    assert [(call["id"], call["error"]) for call in invalid] == [("2", "The arguments of f are no JSON object.")]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_stream_adds_up_to_the_whole_answer(size):
    text = f"{THOUGHT}Sure. {CALL}{CALL}"
    total: Any = reduce(add, streamed(text, size))
    whole: Any = chat_result(request(answer(text)), "m", reader()).generations[0].message
    message = total.message
    assert (message.text, message.additional_kwargs) == (whole.text, whole.additional_kwargs)
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("add", {"a": 1})] * 2
    assert message.usage_metadata == whole.usage_metadata
    assert total.generation_info["finish_reason"] == "tool_calls"


def test_a_call_begins_with_its_id_and_name():
    chunks = [chunk.message for chunk in streamed(CALL)]
    first, *others = [call for message in chunks for call in message.tool_call_chunks]
    assert (first["name"], first["args"], bool(first["id"])) == ("add", "", True)
    assert {(call["name"], call["id"], call["index"]) for call in others} == {(None, None, 0)}
    assert len(others) > 1
    assert all(not (message.content and message.tool_call_chunks) for message in chunks)
