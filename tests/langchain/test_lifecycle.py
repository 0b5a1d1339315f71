"""When engines are loaded, who shares them, and when they are freed."""

import asyncio
import subprocess
import sys

from langchain_vllm_local import ChatVLLMLocal

ANSWER = "Io amo programmare."


def test_the_constructor_loads_nothing(loader):
    llm = ChatVLLMLocal(model="no/such-model", max_tokens=5)
    llm.bind(stop=["x"])
    llm.with_config(tags=["t"])
    assert loader.engines == []


def test_importing_and_constructing_import_no_torch_and_open_no_socket():
    code = """
import socket, sys
class Refused(socket.socket):
    def __init__(self, *_, **__): raise AssertionError("a socket was opened")
socket.socket = Refused
from langchain_vllm_local import ChatVLLMLocal
ChatVLLMLocal(); ChatVLLMLocal(model="no/such-model")
sys.exit([name for name in ("torch", "transformers", "langchain_openai") if name in sys.modules] or 0)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


async def test_warm_up_and_shutdown(loader):
    llm, twin, other = ChatVLLMLocal(), ChatVLLMLocal(max_tokens=3), ChatVLLMLocal(engine_args={"max_num_seqs": 2})
    llm.warm_up()
    await twin.awarm_up()
    other.warm_up()
    assert len(loader.engines) == 2
    llm.shutdown()
    assert [engine.is_closed for engine in loader.engines] == [True, False]
    assert twin.invoke("hi").content == "Io amo programmare"
    ChatVLLMLocal.shutdown_all()
    assert all(engine.is_closed for engine in loader.engines)


def test_several_event_loops_share_an_engine(loader, llm):
    for _ in range(3):
        assert asyncio.run(llm.ainvoke("hi")).content == ANSWER
    assert len(loader.engines) == 1
