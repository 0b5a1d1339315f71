"""Fixtures: a chat model on the fake engine, and settings for the starter model on the real one."""

import shutil
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from langchain_vllm_local import ChatVLLMLocal, _backends
from tests.langchain.fake_engine import Loader
from vllm_local.starter import starter_path

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


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory):
    """The starter model with weights that mean nothing."""
    folder = tmp_path_factory.mktemp("random") / "model"
    shutil.copytree(starter_path(), folder)
    generator = torch.Generator().manual_seed(5)
    for path in folder.glob("*.safetensors"):
        weights = {
            name: torch.randn(tensor.shape, generator=generator).mul_(0.1).to(tensor.dtype)
            for name, tensor in load_file(path).items()
        }
        save_file(weights, path, {"format": "pt"})
    return str(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Remembers which tests were skipped, for the one that pins them."""
    report = yield
    if report.skipped:
        item.config.stash.setdefault(SKIPPED, set()).add(item.nodeid)
    return report


def pytest_terminal_summary(terminalreporter, config):
    """Says which were skipped, one by one."""
    for node_id in sorted(config.stash.get(SKIPPED, ())):
        terminalreporter.write_line(f"skipped {node_id}")
