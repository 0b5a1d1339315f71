"""The tree of commands. A command is one row here and one module, imported when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from vllm_local.default_logging import show_messages
from vllm_local.errors import EXIT_STATUSES, VLLMLocalError


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        name: What the user types.
        module: Has `run(arguments: list[str]) -> None`.
        summary: One line for the list of commands.
    """

    name: str
    module: str
    summary: str


COMMANDS = (
    Command("serve", "vllm_local.cli.serve", "Serve a model over HTTP, with OpenAI's API."),
    Command("chat", "vllm_local.cli.chat", "Talk to a model in this terminal, or to a server."),
    Command("complete", "vllm_local.cli.complete", "Continue texts with a model, or with a server's."),
    Command("run-batch", "vllm_local.cli.run_batch", "Answer a file of requests (OpenAI's batch format)."),
    Command("collect-env", "vllm_local.cli.collect_env", "Describe this machine and installation, for a bug report."),
)
BENCH_COMMANDS = (
    Command("serve", "vllm_local.cli.bench.serve", "Load a running server, and measure its answers."),
    Command("latency", "vllm_local.cli.bench.latency", "Measure how long one batch of requests takes."),
    Command("throughput", "vllm_local.cli.bench.throughput", "Measure requests and tokens a second, without a server."),
    Command("startup", "vllm_local.cli.bench.startup", "Measure how long it takes until a model is ready."),
)

# Options are the flag tables' business: underscores for dashes, `--help=<group>`, `--config`, as vLLM has them.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def make_app() -> typer.Typer:
    """Returns the command line as a whole."""
    app = typer.Typer(
        name="vllm-local",
        help="Run open language models on this machine, with vLLM's commands and options.",
        epilog="`vllm-local serve --help` lists groups of options, `--help=all` every option.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for command in COMMANDS:
        _add(app, command)
    bench = typer.Typer(name="bench", help="Measure a server or the engine.", no_args_is_help=True)
    for command in BENCH_COMMANDS:
        _add(bench, command)
    app.add_typer(bench)
    return app


def _add(app: typer.Typer, command: Command) -> None:
    decorate = app.command(command.name, help=command.summary, add_help_option=False, context_settings=_PASS_ON)
    decorate(_make_runner(command))


def _make_runner(command: Command) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        show_messages()
        try:
            importlib.import_module(command.module).run(list(context.args))
        except VLLMLocalError as error:
            typer.echo(f"Error: {error}", err=True)
            status = next(status for kind, status in EXIT_STATUSES if isinstance(error, kind))
            raise typer.Exit(status) from error

    return run


def _say_version(value: bool) -> None:
    if value:
        from vllm_local import __version__

        typer.echo(__version__)
        raise typer.Exit


def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", "-v", callback=_say_version, is_eager=True, help="Say the version, and exit."),
    ] = False,
) -> Any:
    """Has the options that stand before a command."""
