import sys

import pytest

import vllm_local
from tests.engine.cli.running import invoke
from tests.engine.engine_fakes import run_python
from vllm_local.cli.app import BENCH_COMMANDS, COMMANDS
from vllm_local.errors import EngineDeadError, InsufficientMemoryError, InvalidConfigError, ModelNotFoundError


@pytest.mark.parametrize("option", ["--version", "-v"])
def test_version(option):
    result = invoke(option)
    assert (result.exit_code, result.stdout) == (0, f"{vllm_local.__version__}\n")


def test_every_command_is_listed():
    assert all(command.name in invoke("--help").stdout for command in COMMANDS)
    assert all(command.name in invoke("bench", "--help").stdout for command in BENCH_COMMANDS)


def test_an_unknown_command_is_a_usage_error():
    result = invoke("server")
    assert result.exit_code == 2
    assert "No such command 'server'" in result.output


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidConfigError("it is wrong"), 2),
        (ModelNotFoundError("it is absent"), 3),
        (InsufficientMemoryError("it is large"), 6),
        (EngineDeadError("it is dead"), 1),
    ],
)
def test_errors_are_one_line_and_a_status(error, status, monkeypatch):
    def fail(arguments):
        assert arguments == ["a", "--b=c", "-tp", "2"]
        raise error

    monkeypatch.setattr("vllm_local.cli.serve.run", fail)
    result = invoke("serve", "a", "--b=c", "-tp", "2")
    assert (result.exit_code, result.stderr, result.stdout) == (status, f"Error: {error}\n", "")


def test_help_and_version_load_neither_torch_nor_a_server():
    code = """
        import sys
        from typer.testing import CliRunner
        from vllm_local.cli.app import make_app
        for arguments in (["--help"], ["--version"], ["serve", "--help=all"], ["chat", "--help"], ["bench", "--help"]):
            result = CliRunner().invoke(make_app(), arguments)
            assert result.exit_code == 0, (arguments, result.output)
        heavy = {"torch", "transformers", "fastapi", "uvicorn", "langchain_core"} & set(sys.modules)
        sys.exit(f"{heavy} imported" if heavy else 0)
    """
    run_python(code)


def test_python_m_is_the_same_program(monkeypatch):
    import runpy

    monkeypatch.setattr(sys, "argv", ["vllm_local", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("vllm_local", run_name="__main__")
    assert ended.value.code == 0
