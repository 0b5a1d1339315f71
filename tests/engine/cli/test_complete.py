from tests.engine.cli.running import invoke, use_fake_engine
from tests.engine.engine_fakes import ANSWER


def test_quick(monkeypatch):
    use_fake_engine(monkeypatch)
    result = invoke("complete", "-q", "Once", "--max-tokens", "5", "--temperature", "0")
    assert result.exit_code == 0, result.output
    assert ANSWER.startswith(result.stdout.removesuffix("\n"))
    assert result.stdout.strip()


def test_sixteen_tokens_unless_told_otherwise(monkeypatch):
    use_fake_engine(monkeypatch)
    assert "(16 tokens in" in invoke("complete", "-q", "Once", "--stats").stdout


def test_each_line_is_continued(monkeypatch):
    use_fake_engine(monkeypatch)
    result = invoke("complete", "--max-tokens", "3", input="one\ntwo\n/exit\nthree\n")
    assert result.exit_code == 0, result.output
    assert result.stdout.count(ANSWER[:3]) == 2


def test_a_prompt_that_is_too_long_is_said_and_not_the_end(monkeypatch):
    use_fake_engine(monkeypatch)
    result = invoke("complete", "--max-tokens", "3", input=f"{'word ' * 500}\ntwo\n")
    assert result.exit_code == 0, result.output
    assert "Error: This model's maximum context length is 128 tokens" in " ".join(result.stdout.split())
    assert ANSWER[:3] in result.stdout
