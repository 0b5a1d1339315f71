"""The chat model among LangChain's other parts, on the real engine."""

import asyncio
import random
import time

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.exceptions import ModelTimeoutError
from langchain_core.globals import set_llm_cache
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.history import RunnableWithMessageHistory

from langchain_vllm_local._backends import process_registry

LONG = {"ignore_eos": True, "max_tokens": 3000}


@pytest.fixture
def engine(starter):
    """The starter model's engine, which must have nothing left to do in the end."""
    starter.warm_up()
    engine = process_registry().loaded_engine(starter.engine_config())
    assert engine is not None
    yield engine
    engine.check_integrity()
    stats = engine.stats()
    assert (stats.num_running, stats.num_waiting, stats.kv_cache_usage) == (0, 0, 0)


async def test_a_late_answer_falls_back_to_another_model(starter, engine):
    aborted = engine.stats().num_requests_aborted
    late = starter.bind(timeout=0.05, **LONG)
    chain = late.with_fallbacks([starter], exceptions_to_handle=(ModelTimeoutError,))
    assert chain.invoke("Hello!").text == (await chain.ainvoke("Hello!")).text == starter.invoke("Hello!").text
    retrying = late.with_retry(
        retry_if_exception_type=(ModelTimeoutError,), stop_after_attempt=2, wait_exponential_jitter=False
    )
    with pytest.raises(ModelTimeoutError):
        retrying.invoke("Hello!")
    assert engine.stats().num_requests_aborted == aborted + 4


async def test_a_storm_of_cancellations_leaves_nothing_behind(starter, engine):
    aborted = engine.stats().num_requests_aborted
    chance = random.Random(0)
    chain = ChatPromptTemplate([("human", "{text}")]) | starter.bind(**LONG).with_config(tags=["t"])

    async def stream(text):
        async for _ in starter.astream(text, **LONG):
            await asyncio.sleep(chance.random() / 100)

    ways = [
        lambda text: starter.ainvoke(text, **LONG),
        stream,
        lambda text: chain.ainvoke({"text": text}),
        lambda text: starter.abatch([text, text], **LONG),
    ]
    tasks = [asyncio.create_task(ways[i % 4](f"Hello {i}!")) for i in range(200)]

    async def cancel(task):
        await asyncio.sleep(chance.random())
        task.cancel()

    await asyncio.gather(*map(cancel, tasks))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
    deadline = time.monotonic() + 20
    while (engine.stats().num_running or engine.stats().num_waiting) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert (engine.stats().kv_cache_usage, engine.stats().num_waiting) == (0, 0)
    assert engine.stats().num_requests_aborted > aborted
    assert starter.invoke("Hello!").text


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")
def test_a_conversation_with_memory(starter):
    store: dict[str, InMemoryChatMessageHistory] = {}
    chain = RunnableWithMessageHistory(
        ChatPromptTemplate([MessagesPlaceholder("history"), ("human", "{text}")]) | starter,
        lambda session_id: store.setdefault(session_id, InMemoryChatMessageHistory()),
        input_messages_key="text",
        history_messages_key="history",
    )
    config: RunnableConfig = {"configurable": {"session_id": "ann"}}
    chain.invoke({"text": "My name is Anna."}, config)
    assert "Anna" in chain.invoke({"text": "What is my name?"}, config).text
    assert [message.type for message in store["ann"].messages] == ["human", "ai"] * 2


def test_a_cache_for_the_whole_process(starter, engine):
    cache = InMemoryCache()
    set_llm_cache(cache)
    try:
        first, before = starter.invoke("Hello!"), engine.stats().generation_tokens_total
        assert starter.invoke("Hello!").text == asyncio.run(starter.ainvoke("Hello!")).text == first.text
        assert engine.stats().generation_tokens_total == before
        assert starter.bind(max_tokens=1).invoke("Hello!").text != first.text
        assert engine.stats().generation_tokens_total == before + 1
    finally:
        set_llm_cache(None)
