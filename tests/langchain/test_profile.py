import json

import pytest

from langchain_vllm_local import ChatVLLMLocal
from langchain_vllm_local._profile import DerivedProfile, model_profile, profile_on_disk
from vllm_local.config import EngineConfig


def length(llm):
    return llm.profile["max_input_tokens"]


def folder(tmp_path, name="model", **config):
    path = tmp_path / name
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    return str(path)


@pytest.mark.parametrize("key", ["max_position_embeddings", "max_seq_len", "n_positions"])
def test_the_context_is_read_from_disk_at_construction(tmp_path, key):
    llm = ChatVLLMLocal(model=folder(tmp_path, **{key: 123}))
    assert length(llm) == 123


def test_what_the_engine_can_do():
    lacking = ["image_inputs", "audio_inputs", "video_inputs", "pdf_inputs"]
    able = ["text_inputs", "text_outputs", "temperature", "open_weights"]
    able += ["tool_calling", "tool_choice", "tool_call_streaming", "structured_output"]
    lengths = {"max_input_tokens": 9, "max_output_tokens": 9}
    assert model_profile(9) == lengths | dict.fromkeys(lacking, False) | dict.fromkeys(able, True)
    assert model_profile(9, structured_output=False) == {**model_profile(9), "structured_output": False}


def test_a_config_without_a_length_says_nothing(tmp_path):
    assert profile_on_disk(EngineConfig(model=folder(tmp_path, hidden_size=8))) is None
    (tmp_path / "empty").mkdir()
    assert profile_on_disk(EngineConfig(model=str(tmp_path / "empty"))) is None


def test_max_model_len_limits_it(tmp_path):
    model = folder(tmp_path, max_position_embeddings=123)
    assert length(ChatVLLMLocal(model=model, engine_args={"max_model_len": 50})) == 50


def test_the_starter_has_one():
    assert length(ChatVLLMLocal()) > 100


def test_a_model_in_the_hubs_cache(tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps({"max_position_embeddings": 77}))
    refs = tmp_path / "models--a--b" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    found = profile_on_disk(EngineConfig(model="a/b", download_dir=str(tmp_path)))
    assert found is not None
    assert found["max_input_tokens"] == 77
    assert profile_on_disk(EngineConfig(model="a/c", download_dir=str(tmp_path))) is None


@pytest.mark.parametrize("model", ["no/such-model", "/no/such/folder", "not a repository id!"])
def test_an_unknown_model_has_none(model):
    assert ChatVLLMLocal(model=model).profile is None


def test_a_broken_config_is_no_reason_to_fail_yet(tmp_path):
    (tmp_path / "config.json").write_text("{")
    assert ChatVLLMLocal(model=str(tmp_path)).profile is None


@pytest.mark.parametrize("way", ["warm_up", "invoke", "stream"])
def test_the_engine_knows_better(loader, way):
    llm = ChatVLLMLocal(model="no/such-model")
    loader.options = {"max_model_len": 99}
    {"warm_up": llm.warm_up, "invoke": lambda: llm.invoke("hi"), "stream": lambda: list(llm.stream("hi"))}[way]()
    assert length(llm) == 99


async def test_async_use_learns_too(loader):
    loader.options = {"max_model_len": 99}
    for ask in (ChatVLLMLocal.awarm_up, lambda llm: llm.ainvoke("hi")):
        llm = ChatVLLMLocal(model="no/such-model")
        await ask(llm)
        assert length(llm) == 99


def test_a_profile_of_the_users_stays(loader):
    llm = ChatVLLMLocal(profile={"max_input_tokens": 5})
    llm.invoke("hi")
    assert llm.profile == {"max_input_tokens": 5}


def test_a_rebuild_with_another_model_gets_that_ones_profile(tmp_path):
    llm = ChatVLLMLocal(model=folder(tmp_path, "a", max_position_embeddings=123))
    assert isinstance(llm.profile, DerivedProfile)
    other = folder(tmp_path, "b", max_position_embeddings=456)
    fields = {name: getattr(llm, name) for name in ChatVLLMLocal.model_fields}
    assert length(ChatVLLMLocal(**{**fields, "model_name": other})) == 456


def test_another_models_call_does_not_change_it(loader, tmp_path):
    llm = ChatVLLMLocal(model=folder(tmp_path, max_position_embeddings=123))
    llm.invoke("hi", model="c/d")
    assert length(llm) == 123


def test_a_copy_with_other_engine_arguments_learns_theirs(loader):
    llm = ChatVLLMLocal()
    llm.invoke("hi")
    loader.options = {"max_model_len": 50}
    other = llm.model_copy(update={"engine_args": {"max_model_len": 50}})
    other.invoke("hi")
    assert (length(other), length(llm)) == (50, 4096)
