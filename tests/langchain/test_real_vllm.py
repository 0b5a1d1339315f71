"""`backend="vllm"` with the real thing, where it is installed: `pytest -m vllm`; docs/scale-out.md says how."""

import asyncio
import os
import pickle
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from langchain_vllm_local import ChatVLLMLocal
from langchain_vllm_local._server_process import LIFELINES
from tests.langchain.server_rig import is_running, wait_until
from vllm_local.errors import ContextLengthError, EngineDeadError, InvalidRequestError, ModelNotFoundError
from vllm_local.starter import starter_path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.enable_socket,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("vllm") is None, reason="vllm is not installed"),
]


MAX_MODEL_LEN = 4096


@pytest.fixture(scope="module")
def llm():
    llm = ChatVLLMLocal(
        model=str(starter_path()),
        backend="vllm",
        temperature=0,
        max_tokens=12,
        # Without a limit vLLM takes 92 % of a machine's memory, and does not start where that is not free.
        engine_args={"max_model_len": MAX_MODEL_LEN, "enforce_eager": True, "kv_cache_memory_bytes": 2**28},
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
    assert whole.usage_metadata["output_tokens"] == streamed.usage_metadata["output_tokens"]
    assert llm.profile["max_input_tokens"] == MAX_MODEL_LEN
    assert "POST /v1/chat/completions HTTP" not in llm.server.log_path.read_text(), (
        "a line for every request would fill the disk"
    )


def test_it_starts_with_the_same_words_as_the_engine(llm):
    own = ChatVLLMLocal(temperature=0, max_tokens=12, engine_args={"max_model_len": MAX_MODEL_LEN})
    assert own.invoke("Hello!").text.split()[:2] == llm.invoke("Hello!").text.split()[:2]


def test_many_at_once(llm):
    prompts = [f"Count to {number}." for number in range(8)]
    batched = [answer.text for answer in llm.batch(prompts)]

    async def streamed(prompt):
        return "".join([chunk.text async for chunk in llm.astream(prompt)])

    async def all_of_them():
        return await asyncio.gather(*map(streamed, prompts))

    answers = asyncio.run(all_of_them())
    assert [answer.split()[:1] for answer in answers] == [answer.split()[:1] for answer in batched]


def test_parameters_reach_it(llm):
    text = llm.invoke("Hello!").text
    stopped = llm.invoke("Hello!", stop=[text[5:8]])
    assert (stopped.text, stopped.response_metadata["finish_reason"]) == (text[:5], "stop")
    metadata = llm.invoke("Hello!", logprobs=True, top_logprobs=2, max_tokens=2).response_metadata
    assert [len(entry["top_logprobs"]) for entry in metadata["logprobs"]["content"]] == [2, 2]
    assert metadata["finish_reason"] == "length"
    result = llm.generate([[HumanMessage("Hello!")]], n=3, temperature=1, seed=7)
    assert len(result.generations[0]) == 3
    first, second = (llm.invoke("Tell me a story", temperature=1.5, seed=5).text for _ in range(2))
    assert first == second
    warm = [llm.invoke("word " * 150 + end).usage_metadata for end in "ab"][1]
    assert warm["input_token_details"]["cache_read"] >= 128  # of blocks of 128, on a CPU


def test_its_errors_are_ours(llm):
    for words in (5_000, 50_000):  # vLLM counts tokens, or characters where there are too many of them
        with pytest.raises(ContextLengthError, match=f"maximum context length is {MAX_MODEL_LEN} tokens") as caught:
            llm.invoke("word " * words)
        assert caught.value.max_model_len == MAX_MODEL_LEN
        assert caught.value.num_prompt_tokens in {0, MAX_MODEL_LEN + 1}
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    attached = ChatVLLMLocal(base_url=llm.server.base_url, api_key=llm.server.api_key, model="nope")
    with pytest.raises(ModelNotFoundError, match="`nope` does not exist"):
        attached.invoke("Hello!")
    with pytest.raises(InvalidRequestError, match="at most 4 items"):
        llm.invoke("Hello!", stop=list("abcde"))


def test_an_engine_that_dies_in_mid_stream_leaves_nothing(llm):
    llm.warm_up()
    guard: Any = next(iter(LIFELINES._guards.values()))
    server = processes_below(guard.pid)
    core = next(pid for pid, arguments in server.items() if "EngineCore" in arguments)
    log = llm.server.log_path
    # Seconds of work: of a few hundred tokens the last may be computed before the first is passed on.
    stream = llm.stream("Tell me a story", ignore_eos=True, max_tokens=MAX_MODEL_LEN - 100)
    next(stream)
    os.kill(core, signal.SIGKILL)
    with pytest.raises(EngineDeadError, match=r"vllm serve has ended .*The first error in its log: "):
        list(stream)
    wait_until(lambda: not any(map(is_running, server)))
    assert not Path(f"{log}.d").exists()


def processes_below(ancestor):
    """Returns the command lines of all processes that a process has started, by their ids."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    processes = [line.split(None, 2) for line in listed.splitlines()]
    found = {ancestor: ""}
    for _ in range(4):  # generations
        found |= {int(pid): arguments for pid, parent, arguments in processes if int(parent) in found}
    return found
