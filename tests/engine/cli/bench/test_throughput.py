import json
import re

from tests.engine.cli.running import invoke, use_fake_engine


def test_a_batch_is_timed(monkeypatch, tmp_path):
    configs = use_fake_engine(monkeypatch)
    path = tmp_path / "throughput.json"
    options = ["--input-len", "8", "--output-len", "4", "--num-prompts", "5", "--output-json", str(path)]
    result = invoke("bench", "throughput", "--model", "m", *options)
    assert result.exit_code == 0, result.output
    assert configs[0].enable_prefix_caching is False
    speed = r"Throughput: [\d.]+ requests/s, [\d.]+ total tokens/s, [\d.]+ output tokens/s"
    assert re.search(speed, result.stdout)
    (num_prompt,) = map(int, re.findall(r"Total num prompt tokens:  (\d+)", result.stdout))
    assert "Total num output tokens:  20" in result.stdout
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert (saved["num_requests"], saved["total_num_tokens"]) == (5, num_prompt + 20)
    assert saved["requests_per_second"] == 5 / saved["elapsed_time"]


def test_requests_must_fit(monkeypatch):
    use_fake_engine(monkeypatch, max_model_len=64)
    result = invoke("bench", "throughput", "--input-len", "60", "--output-len", "20", "--num-prompts", "1")
    assert result.exit_code == 2
    assert "max_model_len is 64" in result.stderr
