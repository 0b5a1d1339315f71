import io

import httpx
import pytest
from rich.console import Console

from tests.engine.cli.running import FakeServer, invoke, use_fake_engine
from tests.engine.engine_fakes import ANSWER
from vllm_local.cli.answers import Piece
from vllm_local.cli.chat import Chat
from vllm_local.cli.http_source import HTTPSource
from vllm_local.errors import EngineDeadError, InvalidRequestError


class Parrot:
    """Says what it is told."""

    model_name = "parrot"

    def __init__(self):
        self.asked = []

    def chat(self, messages):
        self.asked.append([dict(message) for message in messages])
        yield Piece(f"You said: {messages[-1]['content']}", 3)

    def complete(self, prompt):
        yield Piece(prompt)

    def close(self):
        pass


class Broken(Parrot):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def chat(self, messages):
        yield Piece("So ")
        raise self.error


@pytest.fixture
def screen():
    return Console(file=io.StringIO(), width=80, highlight=False)


def start(screen, source=None, system_prompt=None, *, show_statistics=False):
    return Chat(screen, source or Parrot(), system_prompt, show_statistics=show_statistics)


def test_a_conversation_grows(screen):
    source = Parrot()
    chat = start(screen, source, "Be brief.")
    assert chat.read("Hi")
    assert chat.read("Bye")
    assert [message["role"] for message in source.asked[-1]] == ["system", "user", "assistant", "user"]
    assert source.asked[-1][2]["content"] == "You said: Hi"
    assert "You said: Bye" in screen.file.getvalue()


def test_clear_forgets(screen):
    source = Parrot()
    chat = start(screen, source)
    for line in ("Hi", "/clear", "Ho"):
        assert chat.read(line)
    assert source.asked[-1] == [{"role": "user", "content": "Ho"}]


def test_system_is_set_and_shown(screen):
    source = Parrot()
    chat = start(screen, source)
    for line in ("/system", "Hi", "/system Speak Latin.", "Ho", "/system"):
        assert chat.read(line)
    assert source.asked[-1] == [{"role": "system", "content": "Speak Latin."}, {"role": "user", "content": "Ho"}]
    text = screen.file.getvalue()
    assert "There is no system prompt." in text
    assert text.rstrip().endswith("Speak Latin.")


def test_history_help_and_unknown_commands(screen):
    chat = start(screen)
    for line in ("/history", "Hi [b]", "/history", "/help", "/hlep", "  "):
        assert chat.read(line)
    text = screen.file.getvalue()
    assert "Nothing was said yet." in text
    assert "user: Hi [b]\nassistant: You said: Hi [b]" in text
    assert "/clear " in text
    assert "There is no command /hlep" in text


def test_a_path_is_no_command(screen):
    source = Parrot()
    start(screen, source).read("/etc/hosts is what?")
    assert len(source.asked) == 1


@pytest.mark.parametrize("line", ["/exit", "/quit", " /bye "])
def test_exit(line, screen):
    assert start(screen).read(line) is False


def test_a_refused_message_is_not_part_of_the_conversation(screen):
    chat = start(screen, Broken(InvalidRequestError("too long")))
    assert chat.read("Hi")
    assert chat.messages == []
    assert "Error: too long" in screen.file.getvalue()


def test_the_end_of_the_engine_ends_the_program(screen):
    with pytest.raises(EngineDeadError):
        start(screen, Broken(EngineDeadError("dead"))).read("Hi")


def test_quick_answers_once_with_the_engine_here(monkeypatch):
    configs = use_fake_engine(monkeypatch)
    result = invoke("chat", "org/model", "-q", "Hi", "--max-tokens", "9", "--stats", "--dtype", "float32")
    assert result.exit_code == 0, result.output
    first, ttft, tps = result.stdout.rstrip().split("\n")
    assert ANSWER.startswith(first.strip())
    assert ttft.startswith("TTFT: ")
    assert "(9 tokens in" in tps
    assert [(config.model, config.dtype) for config in configs] == [("org/model", "float32")]


def test_a_conversation_typed_into_the_program(monkeypatch):
    use_fake_engine(monkeypatch)
    result = invoke("chat", "--max-tokens", "4", input="Hi\n/history\n/exit\nnot read\n")
    assert result.exit_code == 0, result.output
    assert "Using model: " in result.stdout
    assert "user: Hi" in result.stdout
    assert "not read" not in result.stdout


def test_the_end_of_the_input_ends_the_program(monkeypatch):
    use_fake_engine(monkeypatch)
    assert invoke("chat", "--max-tokens", "4", input="Hi\n").exit_code == 0


def test_with_a_server_no_model_is_loaded(monkeypatch):
    configs = use_fake_engine(monkeypatch)
    server = FakeServer()

    def connect(url, api_key, model_name, sampling):
        assert (url, api_key, model_name) == ("http://localhost:1/v1", "k", None)
        return HTTPSource(httpx.Client(transport=server.transport(), base_url=url), "served", sampling)

    monkeypatch.setattr("vllm_local.cli.http_source.HTTPSource.connect", connect)
    arguments = ["--url", "http://localhost:1/v1", "--api-key", "k", "-q", "Hi", "--system-prompt", "Be brief."]
    result = invoke("chat", *arguments)
    assert (result.exit_code, result.stdout) == (0, "Hello world\n")
    assert server.requests[0][2]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert configs == []
