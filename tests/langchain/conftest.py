"""Fixtures: a chat model on the fake engine, and settings for the starter model on the real one."""

from typing import Any

import pytest

from langchain_vllm_local import ChatVLLMLocal, _backends
from tests.langchain.fake_engine import Loader

SKIPPED = pytest.StashKey[set[str]]()


@pytest.fixture
def loader(monkeypatch):
    """Loads fake engines instead of models, into a registry of the test's own."""
    loader = Loader()
    monkeypatch.setattr(_backends, "load_engine", loader)
    monkeypatch.setattr(_backends, "_REGISTRIES", {})
    yield loader
    ChatVLLMLocal.shutdown_all()


@pytest.fixture
def llm(loader):
    """A chat model on a fake engine."""
    return ChatVLLMLocal()


@pytest.fixture(scope="session")
def starter_arguments():
    """Constructor arguments of the starter model, small and quiet; its engine is freed with the session."""
    engine_args: dict[str, Any] = {"kv_cache_memory_bytes": 64 * 2**20, "use_tqdm_on_load": False}
    yield {"engine_args": engine_args}
    ChatVLLMLocal.shutdown_all()


@pytest.fixture
def starter(starter_arguments):
    """The starter model on the real engine, greedy and brief."""
    return ChatVLLMLocal(temperature=0, max_tokens=12, **starter_arguments)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Remembers which tests were skipped, for the one that pins them."""
    report = yield
    if report.skipped:
        item.config.stash.setdefault(SKIPPED, set()).add(item.nodeid)
    return report
