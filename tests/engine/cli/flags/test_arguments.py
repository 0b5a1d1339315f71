import logging

import pytest

from vllm_local.cli.flags.arguments import Arguments
from vllm_local.cli.flags.flag import Flag
from vllm_local.cli.flags.table import SERVE_FLAGS
from vllm_local.config import EngineConfig
from vllm_local.errors import InvalidConfigError
from vllm_local.server.settings import ServerSettings


def read(*arguments):
    return Arguments.parse("serve", SERVE_FLAGS, arguments, "model")


def test_nothing_given_is_every_default():
    assert read().engine_config() == EngineConfig()
    assert read().server_settings() == ServerSettings()


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["org/m"], {"model": "org/m"}),
        (["--dtype", "half"], {"dtype": "float16"}),
        (["--dtype", "float"], {"dtype": "float32"}),
        (["--max-model-len", "4k"], {"max_model_len": 4000}),
        (["--max-model-len", "-1"], {"max_model_len": "auto"}),
        (["--no-enable-prefix-caching"], {"enable_prefix_caching": False}),
        (["--gpu-memory-utilization", "0.9"], {"gpu_memory_utilization": 0.9}),
        (["--kv-cache-memory-bytes", "1G"], {"kv_cache_memory_bytes": 2**30}),
        (["--override-generation-config.temperature", "0.5"], {"override_generation_config": {"temperature": 0.5}}),
        (["--quantization", "none"], {"quantization": None}),
        (["--seed", "0", "--trust-remote-code"], {"seed": 0, "trust_remote_code": True}),
        (["--chat-template", "t.jinja"], {"chat_template": "t.jinja"}),
        (["--max-num-seqs", "1024"], {"max_num_seqs": 1024, "max_num_batched_tokens": 1024}),
        (["--max-num-batched-tokens", "16"], {"max_num_seqs": 16, "max_num_batched_tokens": 16}),
    ],
)
def test_engine_options(arguments, values):
    assert read(*arguments).engine_config() == EngineConfig(**values)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["--host", "0.0.0.0", "--port", "0"], {"host": "0.0.0.0", "port": 0}),
        (["--api-key", "a", "b", "--api-key", "c"], {"api_key": ("a", "b", "c")}),
        (["--served-model-name", "a", "b"], {"served_model_name": ("a", "b")}),
        (["--allowed-origins", '["https://a.b"]'], {"allowed_origins": ("https://a.b",)}),
        (["--default-chat-template-kwargs", '{"x": 1}'], {"default_chat_template_kwargs": {"x": 1}}),
        (["--disable-uvicorn-access-log"], {"disable_uvicorn_access_log": True}),
        (["--shutdown-timeout", "5"], {"shutdown_timeout": 5.0}),
        (["--max-num-queued-reqs", "8"], {"max_num_queued_reqs": 8}),
    ],
)
def test_server_options(arguments, values):
    assert read(*arguments).server_settings() == ServerSettings(**values)


def test_the_key_may_stand_in_the_environment(monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    assert read().server_settings().api_key == ("secret",)
    assert read("--api-key", "mine").server_settings().api_key == ("mine",)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--enforce-eager"], ["--enforce-eager has no effect here: nothing is compiled."]),
        (["--no-enable-chunked-prefill"], ["--no-enable-chunked-prefill has no effect here: prompts"]),
        (["--enable-chunked-prefill", "--no-enforce-eager", "--kv-cache-dtype", "auto", "-tp", "1"], []),
        (["--disable-log-stats"], []),
        (["--tool-call-parser", "hermes", "--reasoning-parser", "qwen3", "--enable-auto-tool-choice"], []),
        (["--no-enable-auto-tool-choice", "--tool-strict-level", "1"], ["--no-enable-auto", "--tool-strict-level"]),
        (["--structured-outputs-config.backend", "xgrammar"], ["--structured-outputs-config"]),
        (["-cc.mode=3", "-O3", "--speculative-config", "{}"], ["--speculative-config", "--optimization", "--comp"]),
    ],
)
def test_what_does_nothing_is_said_once(arguments, told, caplog):
    with caplog.at_level(logging.WARNING):
        read(*arguments)
    messages = [record.message for record in caplog.records]
    assert len(messages) == len(told)
    assert all(any(message.startswith(start) for message in messages) for start in told)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-tp", "2"], 'backend="vllm"'),
        (["--pipeline-parallel-size", "2"], 'backend="vllm"'),
        (["--lora-modules", "a=b"], "merge the adapter"),
        (["--runner", "pooling"], "--runner pooling"),
        (["--middleware", "a.b"], "proxy"),
        (["--headless"], "--headless is not"),
        (["--logprobs-mode", "processed_logits"], "--logprobs-mode"),
    ],
)
def test_what_cannot_be_had_says_what_to_do(arguments, message):
    with pytest.raises(InvalidConfigError) as caught:
        read(*arguments)
    assert message in str(caught.value)


def test_quantization_is_refused_by_the_engine():
    with pytest.raises(InvalidConfigError, match="awq"):
        read("-q", "awq").engine_config()


def test_a_required_option_is_asked_for():
    flags = (Flag(name="input-file", is_required=True, help="The input."),)
    with pytest.raises(InvalidConfigError, match="needs --input-file: The input"):
        Arguments.parse("run-batch", flags, [])


def test_a_command_has_defaults_of_its_own():
    assert read().engine_config(enable_prefix_caching=False).enable_prefix_caching is False
    assert read("--enable-prefix-caching").engine_config(enable_prefix_caching=False).enable_prefix_caching is True
