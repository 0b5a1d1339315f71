"""Fixtures: a chat model on the fake engine, with a registry of its own for each test."""

import pytest

from langchain_vllm_local import ChatVLLMLocal, _backends
from tests.langchain.fake_engine import Loader


@pytest.fixture
def loader(monkeypatch):
    """Loads fake engines instead of models."""
    loader = Loader()
    monkeypatch.setattr(_backends, "load_engine", loader)
    monkeypatch.setattr(_backends, "_REGISTRIES", {})
    yield loader
    ChatVLLMLocal.shutdown_all()


@pytest.fixture
def llm(loader):
    """A chat model on a fake engine."""
    return ChatVLLMLocal()
