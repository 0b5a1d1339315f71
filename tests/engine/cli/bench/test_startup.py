import json
from pathlib import Path

import pytest

from tests.engine.cli.running import invoke
from vllm_local.cli.bench import startup
from vllm_local.config import EngineConfig
from vllm_local.errors import VLLMLocalError


def test_cold_and_warm_starts_are_reported(monkeypatch, tmp_path):
    dropped: list[Path] = []
    seconds = iter([9.0, 8.0, 3.0, 1.0, 2.0])

    def start(config):
        assert config.use_tqdm_on_load is False
        value = next(seconds)
        return {"startup": value, "load": value / 2}

    monkeypatch.setattr(startup, "start_once", start)
    monkeypatch.setattr(startup, "drop_from_cache", dropped.append)
    path = tmp_path / "startup.json"
    options = ["--num-iters-cold", "2", "--num-iters-warm", "2", "--output-json", str(path)]
    result = invoke("bench", "startup", *options)
    assert result.exit_code == 0, result.output
    assert [folder.name for folder in dropped] == ["model", "model"]
    cold, warm = result.stdout.split("COLD STARTUP:")[1].split("WARM STARTUP:")
    assert "Avg startup time: 8.50 seconds" in cold
    assert "Avg load time: 4.25 seconds" in cold
    assert "Avg startup time: 1.50 seconds" in warm
    assert "Startup time percentiles:\n  10%: 1.10 seconds" in warm
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert saved["cold_startup_times"] == [9.0, 8.0]
    assert saved["avg_warm_load_time"] == 0.75


def test_files_leave_the_cache_and_stay_whole(tmp_path):
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    startup.drop_from_cache(tmp_path)
    assert path.read_bytes() == b"weights"


def test_a_model_that_does_not_load_is_an_error(tmp_path):
    with pytest.raises(VLLMLocalError, match="ModelNotFoundError"):
        startup.start_once(EngineConfig(model=str(tmp_path / "absent"), local_files_only=True))


@pytest.mark.slow
def test_a_start_takes_time():
    seconds = startup.start_once(EngineConfig(use_tqdm_on_load=False))
    assert 0 < seconds["load"] < seconds["startup"] < 120
