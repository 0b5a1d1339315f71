import pytest

from tests.engine.cli.running import invoke, use_fake_engine
from vllm_local.cli.prompt import ask


def test_ctrl_c_throws_the_line_away(monkeypatch, capsys):
    answers = iter([KeyboardInterrupt(), "typed"])

    def read(prompt):
        assert prompt == "> "
        answer = next(answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr("builtins.input", read)
    assert ask("> ") == "typed"
    assert "/exit" in capsys.readouterr().err


def test_ctrl_d_is_the_end(monkeypatch):
    def read(_prompt):
        raise EOFError

    monkeypatch.setattr("builtins.input", read)
    with pytest.raises(EOFError):
        ask("> ")


def test_input_that_is_no_text_ends_the_program_with_a_line(monkeypatch):
    use_fake_engine(monkeypatch)
    result = invoke("complete", input=b"\xff\n")
    assert result.exit_code == 1
    assert "Error: The input is no text" in result.stderr
