"""Engine arguments and their resolution."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from vllm_local.config import KV_CACHE_MEMORY_CAP, EngineConfig, KVCacheGroup, ModelInfo, ResolvedConfig, resolve
from vllm_local.errors import InsufficientMemoryError, InvalidConfigError

GROUP = KVCacheGroup(layers=(0, 1), num_kv_heads=2, k_head_size=8, v_head_size=8, dtype="bfloat16")
MODEL = ModelInfo(
    architecture="LlamaForCausalLM",
    max_position_embeddings=256,
    vocab_size=100,
    dtype="bfloat16",
    kv_cache_groups=(GROUP,),
)
BYTES_PER_TOKEN = 2 * 2 * (8 + 8) * 2


def resolved(available_memory: int = 2**30, **arguments: Any) -> ResolvedConfig:
    return resolve(EngineConfig(**arguments), MODEL, device="cpu", available_memory=available_memory)


def test_bytes_per_token_counts_layers_heads_and_both_sizes() -> None:
    assert GROUP.bytes_per_token == BYTES_PER_TOKEN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"device": "tpu"}, "device must be one of"),
        ({"scheduling_policy": "lifo"}, "scheduling_policy must be one of"),
        ({"load_format": "gguf"}, "load_format must be one of"),
        ({"model": ""}, "model must be"),
        ({"model": 5}, "model must be of type str, got int"),
        ({"chat_template": 5}, "chat_template must be of type str"),
        ({"generation_config": None}, "generation_config must be of type str, got NoneType"),
        ({"override_generation_config": [1]}, "override_generation_config must be of type Mapping"),
        ({"seed": 1.5}, "seed must be of type int"),
        ({"seed": True}, "seed must be of type int"),
        ({"trust_remote_code": "no"}, "trust_remote_code must be of type bool"),
        ({"gpu_memory_utilization": "0.5"}, "gpu_memory_utilization must be of type int or float"),
        ({"num_threads": 10**6}, "num_threads must be at most 1024, got 1000000"),
        ({"max_num_seqs": 0}, "max_num_seqs must be a positive integer"),
        ({"block_size": 1.5}, "block_size must be a positive integer"),
        ({"num_threads": True}, "num_threads must be a positive integer"),
        ({"max_model_len": 1}, "max_model_len must be 'auto' or an integer"),
        ({"max_model_len": "long"}, "max_model_len must be 'auto' or an integer"),
        ({"max_num_seqs": 64, "max_num_batched_tokens": 32}, "must not be less than max_num_seqs=64"),
        ({"gpu_memory_utilization": 0}, r"gpu_memory_utilization must be in \(0, 1\]"),
        ({"quantization": "awq"}, "quantization='awq' is not supported in this version"),
        ({"tensor_parallel_size": 2}, "use real vLLM"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        EngineConfig(**arguments)


def test_auto_length_is_the_models_where_memory_allows() -> None:
    config = resolved()
    assert config.max_model_len == 256
    assert config.kv_cache.num_tokens == 64 * 256


def test_auto_length_is_the_largest_that_fits() -> None:
    config = resolved(kv_cache_memory_bytes=10 * 16 * BYTES_PER_TOKEN)
    assert config.kv_cache.num_blocks == 10
    assert config.max_model_len == 160


def test_steps_are_no_larger_than_what_the_cache_could_hold() -> None:
    sizes = {"max_num_seqs": 10**9, "max_num_batched_tokens": 10**12}
    config = resolved(kv_cache_memory_bytes=10 * 16 * BYTES_PER_TOKEN, **sizes)
    assert (config.max_num_seqs, config.max_num_batched_tokens) == (10, 160)
    assert (resolved().max_num_seqs, resolved().max_num_batched_tokens) == (64, 512)


def test_an_explicit_cache_size_is_taken_whole() -> None:
    size = 5000 * 16 * BYTES_PER_TOKEN
    assert resolved(kv_cache_memory_bytes=size).kv_cache.memory_bytes == size


def test_the_share_and_the_cap_hold() -> None:
    memory = 4096 * BYTES_PER_TOKEN
    assert resolved(available_memory=memory, gpu_memory_utilization=0.25).kv_cache.memory_bytes == memory // 4
    wide = replace(MODEL, max_position_embeddings=2**30)
    capped = resolve(EngineConfig(), wide, device="cpu", available_memory=2**50)
    assert KV_CACHE_MEMORY_CAP - 16 * BYTES_PER_TOKEN < capped.kv_cache.memory_bytes <= KV_CACHE_MEMORY_CAP


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_model_len": 256, "kv_cache_memory_bytes": 255 * BYTES_PER_TOKEN},
        {"kv_cache_memory_bytes": 1},
        {"kv_cache_memory_bytes": 2**31},
        {"available_memory": 0},
        {"available_memory": -5},
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InsufficientMemoryError):
        resolved(**arguments)


def test_a_length_beyond_the_models_is_refused() -> None:
    with pytest.raises(InvalidConfigError, match="longer than the model's context of 256 tokens"):
        resolved(max_model_len=257)


def test_paths_may_be_path_objects(tmp_path: Path) -> None:
    assert EngineConfig(model=tmp_path) == EngineConfig(model=str(tmp_path))  # type: ignore[arg-type]
    assert EngineConfig(download_dir=tmp_path).key() == EngineConfig(download_dir=str(tmp_path)).key()  # type: ignore[arg-type]


def test_keys_tell_arguments_apart() -> None:
    assert EngineConfig().key() == EngineConfig().key()
    assert EngineConfig().key() != EngineConfig(seed=1).key()
    assert EngineConfig(override_generation_config={"a": 1}).key() != EngineConfig().key()


def test_secrets_stay_out_of_the_repr() -> None:
    assert "sesame" not in repr(EngineConfig(hf_token="sesame"))


def test_every_argument_is_documented() -> None:
    assert EngineConfig.__doc__ is not None
    for item in fields(EngineConfig):
        assert f"    {item.name}: " in EngineConfig.__doc__
