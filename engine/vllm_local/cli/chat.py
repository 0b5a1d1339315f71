"""`vllm-local chat`: a conversation in the terminal, with a model in this process or a server's."""

from __future__ import annotations

import contextlib

from rich.console import Console

from vllm_local.cli.answers import QUERY_FLAGS, AnswerSource, Message, open_source
from vllm_local.cli.command_line import read_command_line
from vllm_local.cli.flags.arguments import without
from vllm_local.cli.flags.flag import Flag, Shape
from vllm_local.cli.flags.table import ALL_ENGINE_FLAGS, CONFIG_FLAG
from vllm_local.cli.prompt import ask
from vllm_local.cli.terminal import show_answer
from vllm_local.errors import EngineError, VLLMLocalError

_SUMMARY = "Talks to MODEL (the starter model by default) in this process, or to a server's model (--url)."
HELP = """\
/clear           forget the conversation
/system [TEXT]   set the system prompt, or show it; starts over
/history         show the conversation
/exit            leave; so does Ctrl-D
Ctrl-C stops an answer."""

CHAT_FLAGS: tuple[Flag, ...] = (
    *QUERY_FLAGS,
    Flag(name="system-prompt", help="What the model is told before the conversation."),
    Flag(name="quick", short="-q", help="Send this one message, show the answer, and exit."),
    Flag(name="stats", shape=Shape.SWITCH, help="Say how soon and how fast each answer came."),
    CONFIG_FLAG,
    # -q is the message here.
    *without(ALL_ENGINE_FLAGS, "quantization"),
)


def run(arguments: list[str]) -> None:
    """Answers one message, or each that is typed.

    Raises:
        VLLMLocalError: An option is wrong, or nobody answers.
    """
    given = read_command_line("chat", "[MODEL] [OPTIONS]", _SUMMARY, CHAT_FLAGS, arguments, positional="model")
    console = Console(highlight=False)
    with open_source(given) as source:
        chat = Chat(console, source, given["system_prompt"], show_statistics=given["stats"])
        if given["quick"] is not None:
            chat.send(given["quick"])
            return
        console.print(f"Using model: {source.model_name}", markup=False)
        console.print("Please enter a message for the chat model (/help lists commands):", style="dim")
        with contextlib.suppress(EOFError):
            while chat.read(ask("> ")):
                pass


class Chat:
    """A conversation and the commands that act on it."""

    def __init__(
        self, console: Console, source: AnswerSource, system_prompt: str | None, *, show_statistics: bool
    ) -> None:
        """Begins a conversation.

        Args:
            console: Where answers are shown.
            source: Where they come from.
            system_prompt: What the model is told first, if anything.
            show_statistics: Say how fast each answer was.
        """
        self._console = console
        self._source = source
        self._system_prompt = system_prompt
        self._show_statistics = show_statistics
        self._turns: list[Message] = []

    @property
    def messages(self) -> list[Message]:
        """The conversation, system prompt first."""
        first = [{"role": "system", "content": self._system_prompt}] if self._system_prompt else []
        return [*first, *self._turns]

    def read(self, line: str) -> bool:
        """Obeys a command or sends a message; False where the conversation shall end."""
        text = line.strip()
        name, _, rest = text.partition(" ")
        if name in {"/exit", "/quit", "/bye"}:
            return False
        commands = {"/clear": self._clear, "/system": self._system, "/history": self._history, "/help": self._help}
        if name in commands:
            commands[name](rest.strip())
        elif name.startswith("/") and "/" not in name[1:]:
            self._say(f"There is no command {name}; /help lists them.")
        elif text:
            self._try_to_send(line)
        return True

    def send(self, message: str) -> None:
        """Sends a message and shows the answer.

        Raises:
            VLLMLocalError: There is none; the conversation is as before.
        """
        question = {"role": "user", "content": message}
        answer = show_answer(self._console, self._source.chat([*self.messages, question]), as_markdown=True)
        if answer.is_interrupted:
            self._say("(stopped)")
        self._turns += [question, {"role": "assistant", "content": answer.text}]
        if self._show_statistics:
            self._say(answer.statistics())

    def _try_to_send(self, message: str) -> None:
        try:
            self.send(message)
        except EngineError:
            raise
        except VLLMLocalError as error:
            self._console.print(f"Error: {error}", style="red", markup=False)

    def _clear(self, _rest: str) -> None:
        self._turns.clear()
        self._say("The conversation starts over.")

    def _system(self, text: str) -> None:
        if text:
            self._system_prompt = text
            self._clear("")
        else:
            self._say(self._system_prompt or "There is no system prompt.")

    def _history(self, _rest: str) -> None:
        for message in self.messages:
            self._console.print(f"{message['role']}: {message['content']}", markup=False)
        if not self.messages:
            self._say("Nothing was said yet.")

    def _help(self, _rest: str) -> None:
        self._say(HELP)

    def _say(self, text: str) -> None:
        self._console.print(text, style="dim", markup=False)
