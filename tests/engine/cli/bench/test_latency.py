import json

import numpy as np

from tests.engine.cli.running import invoke, use_fake_engine
from tests.engine.engine_fakes import FakeModelRunner


def test_batches_are_timed(monkeypatch, tmp_path):
    runner = FakeModelRunner()
    configs = use_fake_engine(monkeypatch, runner=runner)
    path = tmp_path / "latency.json"
    options = [
        "--input-len",
        "8",
        "--output-len",
        "4",
        "--batch-size",
        "2",
        "--num-iters-warmup",
        "1",
        "--num-iters",
        "3",
    ]
    result = invoke("bench", "latency", "--model", "m", *options, "--output-json", str(path))
    assert result.exit_code == 0, result.output
    assert (configs[0].model, configs[0].enable_prefix_caching) == ("m", False)
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert len(saved["latencies"]) == 3
    assert saved["avg_latency"] == np.mean(saved["latencies"])
    assert list(saved["percentiles"]) == ["10", "25", "50", "75", "90", "99"]
    lines = result.stdout.splitlines()
    assert lines[:2] == ["Warming up...", f"Avg latency: {saved['avg_latency']} seconds"]
    assert lines[-1] == f"99% percentile latency: {saved['percentiles']['99']} seconds"
    # Two requests with four tokens each, in four batches: end tokens do not end them.
    assert sum(runner.batch_sizes) == 2 * 4 * 4


def test_sizes_are_positive(monkeypatch):
    use_fake_engine(monkeypatch)
    result = invoke("bench", "latency", "--num-iters", "0")
    assert result.exit_code == 2
    assert "--num-iters must be at least 1" in result.stderr
