from tests.engine.cli.running import invoke
from vllm_local.cli.collect_env import _read_cpuinfo


def test_it_describes_machine_and_installation(monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "very secret")
    monkeypatch.setenv("HF_TOKEN", "also secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("UNRELATED", "private")
    result = invoke("collect-env")
    assert result.exit_code == 0, result.output
    lines = dict(line.split(" : ", 1) for line in result.stdout.splitlines() if " : " in line)
    named = {name.strip(): value for name, value in lines.items()}
    assert named["VLLM_API_KEY"] == named["HF_TOKEN"] == "***"
    assert named["OMP_NUM_THREADS"] == "7"
    assert "UNRELATED" not in named
    assert {"OS", "Python version", "PyTorch version", "CPU capability", "torch", "tokenizers"} <= set(named)
    assert "secret" not in result.stdout


def test_processors_are_told_by_either_kind_of_file(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor : 0\nmodel name : Fast One\nflags : fpu avx2 amx_tile\n\n", encoding="utf-8")
    assert _read_cpuinfo(path) == ("Fast One", frozenset({"fpu", "avx2", "amx_tile"}))
    path.write_text("processor : 0\nFeatures : asimd i8mm\n", encoding="utf-8")
    assert _read_cpuinfo(path) == ("", frozenset({"asimd", "i8mm"}))
    assert _read_cpuinfo(tmp_path / "absent") == ("", frozenset())
