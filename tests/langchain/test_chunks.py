from functools import reduce
from operator import add
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_vllm_local._chunks import ChunkWriter

# Kinds of pieces in their order; a digit is a call.
ORDERS = ["0", "t0", "r0", "rt0", "01", "t01", "rt012", "t0t", "r0t1", "01t", "t01t", "r012t3t"]


class Scripted(BaseChatModel):
    """Streams what a ChunkWriter writes."""

    order: str

    @property
    def _llm_type(self):
        return "scripted"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=reduce(add, pieces(self.order)))])

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for message in pieces(self.order):
            yield ChatGenerationChunk(message=message)


def pieces(order):
    writer = ChunkWriter()
    for kind in order:
        if kind == "t":
            yield writer.text("so")
            yield writer.text(" much")
        elif kind == "r":
            yield writer.reasoning("hm")
            yield writer.reasoning(", well")
        else:
            yield writer.call(int(kind), call_id=f"id{kind}", name=f"f{kind}", arguments="")
            yield writer.call(int(kind), arguments='{"a": ')
            yield writer.call(int(kind), arguments=f"{kind}}}")


def called(order):
    return [(f"f{kind}", {"a": int(kind)}) for kind in order if kind.isdigit()]


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("order", ORDERS)
def test_blocks_stay_apart(order, version):
    total: Any = reduce(add, Scripted(order=order, output_version=version).stream("hi"))
    blocks = total.content_blocks
    calls = [(block["name"], block["args"]) for block in blocks if block["type"] == "tool_call"]
    assert calls == called(order)
    assert [(call["name"], call["args"]) for call in total.tool_calls] == called(order)
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    assert "".join(texts) == "so much" * order.count("t")
    assert [block["reasoning"] for block in blocks if block["type"] == "reasoning"] == ["hm, well"] * ("r" in order)


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("order", ORDERS)
def test_events_have_them_too(order):
    output = Scripted(order=order).stream_events("hi", version="v3").output
    calls = [(block["name"], block["args"]) for block in output.content_blocks if block["type"] == "tool_call"]
    assert calls == called(order)


def test_the_first_call_of_an_answer_without_text_is_number_0():
    chunk, *_ = pieces("0")
    assert chunk.tool_call_chunks[0]["index"] == 0
