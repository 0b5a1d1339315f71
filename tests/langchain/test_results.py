from functools import reduce
from operator import add
from typing import Any

import pytest

from langchain_vllm_local._results import chat_chunks, chat_result, combine_llm_outputs, openai_logprobs
from vllm_local.outputs import CompletionOutput, Logprob, RequestOutput


def answer(text="hi", reason="stop", index=0, **values):
    return CompletionOutput(index, text, values.pop("ids", [1, 2]), finish_reason=reason, **values)


def request(*answers, finished=True):
    return RequestOutput("id1", None, [5] * 10, list(answers), finished, num_cached_tokens=4, num_generated_tokens=6)


def logprobs_of(one, top_logprobs):
    return (openai_logprobs(one, top_logprobs) or {})["content"]


def test_a_result_has_chatopenais_metadata():
    result: Any = chat_result(request(answer()), "m")
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
    result: Any = chat_result(request(answer("a"), answer("b", "length", 1)), "m")
    assert [generation.text for generation in result.generations] == ["a", "b"]
    assert [generation.generation_info["finish_reason"] for generation in result.generations] == ["stop", "length"]


def test_names_and_usage_come_once_on_the_last_chunk():
    chunks: list[Any] = [
        *chat_chunks(request(answer("a", None, ids=[1]), finished=False), "m"),
        *chat_chunks(request(answer("b", "stop", ids=[2])), "m"),
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
    last: Any = chat_chunks(request(answer()), "m", with_usage=False)[-1]
    assert last.message.usage_metadata is None


def test_a_last_output_without_text_is_one_chunk():
    (chunk,) = chat_chunks(request(answer("", "length", ids=[])), "m")
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
    total: Any = reduce(add, [chunk for output in outputs for chunk in chat_chunks(output, "m")])
    assert [item["token"] for item in total.generation_info["logprobs"]["content"]] == ["a", "b"]


@pytest.mark.parametrize("missing", [None, {}, {"token_usage": {}}])
def test_usage_of_several_conversations_adds_up(missing):
    one: Any = chat_result(request(answer()), "m").llm_output
    total: Any = combine_llm_outputs([one, missing, one], "other")
    assert total["token_usage"] == {
        "prompt_tokens": 20,
        "completion_tokens": 12,
        "total_tokens": 32,
        "prompt_tokens_details": {"cached_tokens": 8},
    }
    assert total["model_name"] == "m"
    assert combine_llm_outputs([missing], "other") == {"token_usage": {}, "model_name": "other"}
