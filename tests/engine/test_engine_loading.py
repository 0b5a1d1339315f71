import json
import logging
import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from vllm_local import async_llm
from vllm_local.async_llm import AsyncLLM
from vllm_local.config import STARTER_MODEL_NAME, EngineConfig
from vllm_local.engine_loading import load, read_model_files
from vllm_local.engine_registry import EngineRegistry
from vllm_local.errors import (
    ContextLengthError,
    CorruptModelError,
    InsufficientMemoryError,
    InvalidConfigError,
    InvalidRequestError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from vllm_local.starter import starter_path
from vllm_local.worker import memory

SMALL: dict[str, Any] = {"num_threads": 1, "kv_cache_memory_bytes": 2**20, "max_model_len": 64}


@pytest.fixture(scope="module")
def loaded():
    return load(read_model_files(EngineConfig(**SMALL)))


def test_the_starter_model_is_found_and_keeps_its_name(loaded):
    assert loaded.config.engine.model == STARTER_MODEL_NAME
    assert loaded.path == starter_path()
    assert loaded.config.max_model_len == 64


def test_everything_that_answers_requests_is_there(loaded):
    messages = [{"role": "user", "content": "Hi"}]
    assert loaded.renderer.render(messages)
    assert loaded.tokenizer.eos_token_ids
    assert loaded.sampling_defaults.make().is_greedy, "the starter's generation_config.json says so"
    assert not loaded.make_engine().has_unfinished_requests()


def test_the_starter_answers():
    with AsyncLLM(EngineConfig(**SMALL)) as engine:
        prompt = engine.render([{"role": "user", "content": "Hello!"}])
        *_, last = engine.submit(prompt, engine.default_sampling_params(max_tokens=8))
    assert last.outputs[0].text
    assert last.outputs[0].finish_reason in {"stop", "length"}


def test_its_tokenizer_may_be_named_too():
    loaded = load(read_model_files(EngineConfig(tokenizer=STARTER_MODEL_NAME, **SMALL)))
    assert loaded.tokenizer.vocab_size <= loaded.config.model.vocab_size


def test_in_a_fork_one_thread_computes(caplog):
    with caplog.at_level(logging.WARNING):
        loaded = load(read_model_files(EngineConfig(**{**SMALL, "num_threads": None})), after_fork=True)
    assert "was forked" in caplog.text
    assert loaded.config.engine.num_threads is None, "the arguments stay as the user gave them"
    import torch

    assert torch.get_num_threads() == 1


def test_short_memory_names_what_is_loaded():
    with AsyncLLM(EngineConfig(**SMALL)) as engine:
        with pytest.raises(InsufficientMemoryError, match=r"vllm-local-starter \(KV cache 1 MiB, 0 requests\)"):
            AsyncLLM(EngineConfig(**{**SMALL, "kv_cache_memory_bytes": 2**50}))
        assert not engine.is_closed


def test_memory_that_an_engine_has_not_taken_yet_is_still_its_own(monkeypatch):
    monkeypatch.setattr(async_llm, "REGISTRY", EngineRegistry())  # other tests' engines may linger in the real one
    monkeypatch.setattr(memory, "host_memory_left", lambda: 100 * 2**20)
    small, large = (EngineConfig(**{**SMALL, "kv_cache_memory_bytes": size * 2**20}) for size in (32, 64))
    with AsyncLLM(small), pytest.raises(InsufficientMemoryError, match="KV cache 32 MiB"):
        AsyncLLM(large)
    AsyncLLM(large).close()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"model": "/absent/model"}, ModelNotFoundError),
        ({"tokenizer": "absent/tokenizer"}, ModelNotFoundError),
        ({"chat_template": "absent.jinja"}, InvalidConfigError),
        ({"generation_config": "/absent"}, InvalidConfigError),
        # pathlib raises OSError where a name is too long, and RuntimeError where there is no such home.
        ({"model": "x" * 300}, ModelNotFoundError),
        ({"model": "~no-such-user/model"}, ModelNotFoundError),
        ({"tokenizer": "x" * 300}, ModelNotFoundError),
        ({"tokenizer": "~no-such-user/model"}, ModelNotFoundError),
        ({"chat_template": "x" * 300}, InvalidConfigError),
        ({"generation_config": "x" * 300}, InvalidConfigError),
    ],
)
def test_wrong_arguments(arguments, error):
    with pytest.raises(error):
        read_model_files(EngineConfig(**{**SMALL, **arguments}))


def damaged_starter(folder, name):
    """Returns a copy of the starter model with one file damaged."""
    shutil.copytree(starter_path(), folder)
    if name == "model.safetensors":
        (folder / name).write_bytes((folder / name).read_bytes()[:5000])
    else:
        config = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps({**config, "architectures": ["NoSuchModel"]}), encoding="utf-8")
    return str(folder)


def test_whatever_is_wrong_a_loaded_engine_goes_on(tmp_path):
    """What users get wrong, one after the other, while a request runs."""
    corrupt = damaged_starter(tmp_path / "corrupt", "model.safetensors")
    unknown = damaged_starter(tmp_path / "unknown", "config.json")
    with AsyncLLM(EngineConfig(**{**SMALL, "max_model_len": 256, "kv_cache_memory_bytes": 2**21})) as engine:
        user = {"role": "user", "content": "Hello!"}
        params = engine.default_sampling_params(ignore_eos=True)
        *_, expected = engine.submit(engine.render([user]), params)
        too_long = [5] * engine.config.max_model_len
        mistakes: list[tuple[type[Exception], Callable[[], object]]] = [
            (InvalidRequestError, lambda: engine.render([])),
            (InvalidRequestError, lambda: engine.render([{"role": "robot", "content": "x"}])),
            (InvalidRequestError, lambda: engine.submit("a\ud800", params)),
            (ContextLengthError, lambda: engine.submit(too_long, params)),
            (InvalidRequestError, lambda: engine.submit("x", engine.default_sampling_params(max_tokens=0))),
            (InvalidRequestError, lambda: engine.submit("x", engine.default_sampling_params(temperature=-1))),
            (ModelNotFoundError, lambda: AsyncLLM(EngineConfig(model=str(tmp_path / "absent"), num_threads=1))),
            (CorruptModelError, lambda: AsyncLLM(EngineConfig(model=corrupt, num_threads=1))),
            (UnsupportedModelError, lambda: AsyncLLM(EngineConfig(model=unknown, num_threads=1))),
        ]
        stream = engine.submit(engine.render([user]), params)
        last = next(stream)
        for error, mistake in mistakes:
            with pytest.raises(error):
                mistake()
        for output in stream:
            last = output
        assert last.outputs[0].token_ids == expected.outputs[0].token_ids
        engine.check_integrity()


def test_a_model_s_name_instead_of_a_config():
    with pytest.raises(InvalidConfigError, match=r"takes an EngineConfig\(model=…\), got str"):
        read_model_files("some/model")  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_of_a_process_that_computed_loads_its_own():
    with AsyncLLM(EngineConfig(**{**SMALL, "num_threads": 2})) as engine:
        prompt = engine.render([{"role": "user", "content": "Hello!"}])
        params = engine.default_sampling_params(max_tokens=8)
        *_, expected = engine.submit(prompt, params)
        child = os.fork()
        if child == 0:
            try:
                own = AsyncLLM(EngineConfig(**{**SMALL, "num_threads": 2}))
                *_, last = own.submit(prompt, params)
                os._exit(0 if last.outputs[0].text == expected.outputs[0].text else 1)
            except BaseException:  # noqa: BLE001 - nothing may come back from here
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
