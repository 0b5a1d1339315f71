import pytest

from tests.engine.cli.running import invoke
from vllm_local.config import EngineConfig
from vllm_local.server.settings import ServerSettings


@pytest.fixture
def calls(monkeypatch):
    """What the server would have been started with."""
    calls = []
    monkeypatch.setattr("vllm_local.server.run.run_server", lambda *arguments: calls.append(arguments))
    return calls


def test_without_a_model_it_serves_the_starter(calls):
    assert invoke("serve").exit_code == 0
    assert calls == [(EngineConfig(), ServerSettings())]


def test_a_vllm_users_script(calls, caplog):
    line = (
        "serve org/model --dtype bfloat16 --max-model-len 4096 --max_num_seqs 128 --gpu-memory-utilization 0.9 "
        "--enforce-eager --no-enable-prefix-caching -tp 1 --seed 0 --port 8001 --api-key token --served-model-name m "
        "--enable-auto-tool-choice --tool-call-parser hermes --disable-log-stats"
    )
    assert invoke(*line.split()).exit_code == 0
    config = EngineConfig(
        model="org/model",
        dtype="bfloat16",
        max_model_len=4096,
        max_num_seqs=128,
        gpu_memory_utilization=0.9,
        enable_prefix_caching=False,
        seed=0,
    )
    settings = ServerSettings(port=8001, api_key=("token",), served_model_name=("m",), tool_call_parser="hermes")
    assert calls == [(config, settings)]
    assert [record.args[0] for record in caplog.records] == ["--enforce-eager"]


def test_from_a_file(calls, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("model: org/model\nport: 1234\nuvicorn_log_level: warning\n", encoding="utf-8")
    assert invoke("serve", "--config", str(path), "--port", "4321").exit_code == 0
    assert calls == [(EngineConfig(model="org/model"), ServerSettings(port=4321, uvicorn_log_level="warning"))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "port must be in"),
        (["-q", "awq"], "quantization='awq'"),
        (["-tp", "2"], "vllm serve"),
        (["--tool-call-parser", "nobody"], "use one of deepseek"),
        (["--reasoning-parser", "nobody"], "use one of cohere"),
        (["--api-key", ""], "would let everybody in"),
        (["--api-key"], "would let everybody in"),
        (["--host", ""], "host must not be empty"),
        (["--ssl-keyfile", "absent"], "ssl_certfile"),
    ],
)
def test_mistakes_end_before_anything_is_loaded(arguments, message, calls):
    result = invoke("serve", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert calls == []
