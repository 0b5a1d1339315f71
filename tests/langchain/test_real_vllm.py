"""`backend="vllm"` with the real thing, where it is installed: `pytest -m vllm`; docs/scale-out.md says how."""

import shutil
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from langchain_vllm_local import ChatVLLMLocal
from vllm_local.starter import starter_path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.enable_socket,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("vllm") is None, reason="vllm is not installed"),
]


@pytest.fixture(scope="module")
def llm():
    llm = ChatVLLMLocal(
        model=str(starter_path()),
        backend="vllm",
        temperature=0,
        max_tokens=12,
        engine_args={"max_model_len": 512, "enforce_eager": True, "tensor_parallel_size": 1},
    )
    yield llm
    llm.shutdown()


def test_it_answers_and_counts(llm):
    whole = llm.invoke("Hello!")
    streamed: Any = None
    for chunk in llm.stream("Hello!"):
        streamed = chunk if streamed is None else streamed + chunk
    assert whole.text == streamed.text != ""
    assert whole.usage_metadata["input_tokens"] == llm.get_num_tokens_from_messages([HumanMessage("Hello!")])
    assert llm.profile["max_input_tokens"] == 512


def test_it_starts_with_the_same_words_as_the_engine(llm):
    own = ChatVLLMLocal(temperature=0, max_tokens=12, engine_args={"max_model_len": 512})
    assert own.invoke("Hello!").text.split()[:2] == llm.invoke("Hello!").text.split()[:2]
