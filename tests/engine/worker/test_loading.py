import logging
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from tests.engine.worker.fakes import new, step
from vllm_local.config import EngineConfig
from vllm_local.errors import InsufficientMemoryError, InvalidConfigError, ModelNotFoundError
from vllm_local.kernels.selection import KERNELS_VARIABLE, native_library
from vllm_local.models.loader import load_model, weight_bytes
from vllm_local.worker import loading, memory
from vllm_local.worker.loading import as_text, load_model_runner

MIB = 2**20


@pytest.fixture(autouse=True)
def _keep_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def engine(llama_path):
    def make(**arguments):
        return EngineConfig(model=str(llama_path), use_tqdm_on_load=False, device="cpu", **arguments)

    return make


def test_a_folder_becomes_a_runner(engine, llama, llama_path):
    runner, config, path = load_model_runner(engine(kv_cache_memory_bytes=MIB, num_threads=1))
    assert path == llama_path
    assert config.model.architecture == "LlamaForCausalLM"
    assert (config.device, config.max_model_len, config.model.dtype) == ("cpu", 256, "float32")
    assert config.kv_cache.memory_bytes <= MIB
    prompt = [5, 7, 9]
    found = runner.execute(step({"a": 3}, new=[new("a", prompt, blocks=[0])]))
    expected = llama(torch.tensor([prompt])).logits[0, -1].argmax()
    assert found.sampled_token_ids == {"a": [int(expected)]}


def test_the_log_says_what_was_found_and_chosen(engine, caplog):
    caplog.set_level(logging.INFO, logger="vllm_local")
    runner, config, path = load_model_runner(engine(num_threads=1, max_num_seqs=2))
    cache, loaded = caplog.messages[-2:]
    kernels: Any = runner._model.kernels
    assert f"{config.kv_cache.num_blocks} blocks of 16 tokens" in cache
    assert "at most 50% of" in cache
    assert "at most 4.0 GiB" in cache
    assert "max_model_len 256" in cache
    assert f"Loaded {path} (LlamaForCausalLM, float32) on cpu ({kernels.description}) in" in loaded
    assert loaded.endswith("num_threads 1.")


@pytest.fixture
def _torch_kernels(monkeypatch):
    monkeypatch.setenv(KERNELS_VARIABLE, "torch")


@pytest.mark.usefixtures("_torch_kernels")
@pytest.mark.parametrize("num_threads", [1, 2])
def test_threads_are_set_for_the_process(engine, num_threads):
    load_model_runner(engine(kv_cache_memory_bytes=MIB, num_threads=num_threads))
    assert torch.get_num_threads() == num_threads


def test_torch_keeps_to_one_thread_beside_native_kernels(engine):
    if native_library() is None:
        pytest.skip("the native library was not built")
    runner, _, _ = load_model_runner(engine(kv_cache_memory_bytes=MIB, num_threads=2))
    runner.execute(step({"a": 3}, new=[new("a", [5, 7, 9], blocks=[0])]))
    kernels: Any = runner._model.kernels
    assert (torch.get_num_threads(), kernels.library.num_threads) == (1, 2)


@pytest.mark.usefixtures("_torch_kernels")
def test_without_a_wish_the_size_of_the_weights_decides(engine, llama_path, monkeypatch):
    expected = weight_bytes(llama_path, "float32")
    monkeypatch.setattr(loading, "default_num_threads", lambda size: 2 if size == expected else 1)
    load_model_runner(engine(kv_cache_memory_bytes=MIB))
    assert torch.get_num_threads() == 2


@pytest.fixture
def _nothing_is_loaded(monkeypatch):
    def load_model(*arguments, **options):
        pytest.fail("the weights were read although they do not fit")

    monkeypatch.setattr(loading, "load_model", load_model)


@pytest.mark.usefixtures("_nothing_is_loaded")
def test_weights_that_do_not_fit_are_refused_before_loading(engine, monkeypatch, llama_path):
    monkeypatch.setattr(memory, "host_memory_left", lambda: 100_000)
    with pytest.raises(InsufficientMemoryError) as caught:
        load_model_runner(engine(num_threads=1), loaded_engines=["first/model", "second/model"])
    message = str(caught.value)
    for part in (str(llama_path), "97.7 KiB of memory are left", "first/model, second/model", "engine.close()"):
        assert part in message
    assert "ChatVLLMLocal.shutdown()" in message


@pytest.mark.usefixtures("_nothing_is_loaded")
def test_a_kv_cache_that_does_not_fit_is_refused_before_loading(engine, monkeypatch, llama_path):
    size = weight_bytes(llama_path, "float32")
    monkeypatch.setattr(memory, "host_memory_left", lambda: size + 100_000)
    with pytest.raises(
        InsufficientMemoryError, match=r"(?s)beside .* of weights, 97\.7 KiB .*max_model_len=256"
    ) as caught:
        load_model_runner(engine(num_threads=1, max_model_len=256))
    assert "Loaded in this process" not in str(caught.value)


@pytest.mark.usefixtures("_nothing_is_loaded")
@pytest.mark.parametrize(
    ("reserved", "message"), [(10**9, "0 B of memory are left"), (100_000, r"beside .* 97\.7 KiB")]
)
def test_what_loaded_engines_may_still_take_is_not_left(engine, monkeypatch, llama_path, reserved, message):
    size = weight_bytes(llama_path, "float32")
    monkeypatch.setattr(memory, "host_memory_left", lambda: size + 200_000)
    with pytest.raises(InsufficientMemoryError, match=message):
        load_model_runner(engine(num_threads=1, max_model_len=256), reserved_memory=lambda: reserved)


def test_the_kv_cache_leaves_what_loaded_engines_may_still_take_by_then(engine, monkeypatch, llama_path):
    size = weight_bytes(llama_path, "float32")
    monkeypatch.setattr(memory, "host_memory_left", lambda: size + 400_000)
    reserved = iter([0, size + 100_000])
    _, config, _ = load_model_runner(engine(num_threads=1), reserved_memory=lambda: next(reserved))
    budget = 300_000 // 2
    bytes_per_block = config.kv_cache.memory_bytes // config.kv_cache.num_blocks
    assert budget - bytes_per_block < config.kv_cache.memory_bytes <= budget


@pytest.mark.usefixtures("_nothing_is_loaded")
def test_a_context_longer_than_the_models_is_refused_before_loading(engine):
    with pytest.raises(InvalidConfigError, match="max_model_len=257"):
        load_model_runner(engine(num_threads=1, max_model_len=257))


def test_a_context_that_fits_is_found(engine, monkeypatch, llama_path):
    size = weight_bytes(llama_path, "float32")
    monkeypatch.setattr(memory, "host_memory_left", lambda: size + 100_000)
    _, config, _ = load_model_runner(engine(num_threads=1, gpu_memory_utilization=0.2))
    assert 2 <= config.max_model_len < 256
    assert config.kv_cache.num_tokens == config.max_model_len


def test_an_absent_folder_is_a_clear_error(tmp_path):
    with pytest.raises(ModelNotFoundError):
        load_model_runner(EngineConfig(model=str(tmp_path / "absent"), device="cpu", num_threads=1))


_FORK = """
import os, sys, torch
from tests.engine.worker.fakes import new, step
from vllm_local.config import EngineConfig
from vllm_local.worker.loading import load_model_runner

def first_token(num_threads):
    engine = EngineConfig(model=sys.argv[1], device="cpu", num_threads=num_threads, kv_cache_memory_bytes=2**20)
    runner, _, _ = load_model_runner(engine)
    return runner.execute(step({"a": 200}, new=[new("a", [7] * 200, blocks=range(13))])).sampled_token_ids["a"][0]

torch.set_num_threads(2)
torch.randn(512, 512) @ torch.randn(512, 512)  # starts the OpenMP threads that a child will not have
expected = first_token(2)
child = os.fork()
if child == 0:
    os._exit(0 if first_token(1) == expected else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_loads_its_own_on_one_thread(llama_path, repository):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(repository / "engine"), str(repository)])}
    command = [sys.executable, "-W", "ignore", "-c", _FORK, str(llama_path)]
    subprocess.run(command, check=True, timeout=60, cwd=repository, env=environment)


@pytest.mark.parametrize(
    ("num_bytes", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (20 * MIB, "20.0 MiB"), (3 * 2**30 // 2, "1.5 GiB")],
)
def test_sizes_are_readable(num_bytes, expected):
    assert as_text(num_bytes) == expected


@pytest.mark.usefixtures("_torch_kernels")
def test_loading_leaves_openmp_to_the_thread_that_will_compute(engine, monkeypatch):
    seen: list[int] = []

    def observed(*args, **kwargs):
        seen.append(torch.get_num_threads())
        return load_model(*args, **kwargs)

    monkeypatch.setattr(loading, "load_model", observed)
    load_model_runner(engine(num_threads=2, kv_cache_memory_bytes=MIB))
    assert (seen, torch.get_num_threads()) == ([1], 2)
