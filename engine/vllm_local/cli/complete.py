"""`vllm-local complete`: continues texts, with a model in this process or a server's."""

from __future__ import annotations

import contextlib

from rich.console import Console

from vllm_local.cli.answers import QUERY_FLAGS, AnswerSource, open_source
from vllm_local.cli.command_line import read_command_line
from vllm_local.cli.flags.arguments import without
from vllm_local.cli.flags.flag import Flag, Shape
from vllm_local.cli.flags.table import ALL_ENGINE_FLAGS, CONFIG_FLAG
from vllm_local.cli.prompt import ask
from vllm_local.cli.terminal import show_answer
from vllm_local.errors import EngineError, VLLMLocalError

_SUMMARY = (
    "Continues texts: with MODEL (the starter model by default) in this process, or with a server's model (--url)."
)

COMPLETE_FLAGS: tuple[Flag, ...] = (
    *QUERY_FLAGS,
    Flag(name="quick", short="-q", help="Continue this one text, and exit."),
    Flag(name="stats", shape=Shape.SWITCH, help="Say how soon and how fast each answer came."),
    CONFIG_FLAG,
    # -q is the text here.
    *without(ALL_ENGINE_FLAGS, "quantization"),
)


def run(arguments: list[str]) -> None:
    """Continues one text, or each that is typed.

    Raises:
        VLLMLocalError: An option is wrong, or nobody answers.
    """
    given = read_command_line("complete", "[MODEL] [OPTIONS]", _SUMMARY, COMPLETE_FLAGS, arguments, positional="model")
    console = Console(highlight=False)
    with open_source(given) as source:
        if given["quick"] is not None:
            _complete(console, source, given["quick"], show_statistics=given["stats"])
            return
        console.print(f"Using model: {source.model_name}\nPlease enter prompt to complete:", markup=False)
        with contextlib.suppress(EOFError):
            while True:
                text = ask("> ")
                if text.strip() == "/exit":
                    return
                try:
                    _complete(console, source, text, show_statistics=given["stats"])
                except EngineError:
                    raise
                except VLLMLocalError as error:
                    console.print(f"Error: {error}", style="red", markup=False)


def _complete(console: Console, source: AnswerSource, prompt: str, *, show_statistics: bool) -> None:
    answer = show_answer(console, source.complete(prompt), as_markdown=False)
    if show_statistics:
        console.print(answer.statistics(), style="dim", markup=False)
