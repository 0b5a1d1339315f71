"""`vllm-local serve [MODEL]`: the HTTP server."""

from __future__ import annotations

from vllm_local.cli.command_line import read_command_line
from vllm_local.cli.flags.table import SERVE_FLAGS

_SUMMARY = "Serves a model (without one, the starter model in the package) over HTTP, with OpenAI's API."


def run(arguments: list[str]) -> None:
    """Serves until it is interrupted.

    Raises:
        VLLMLocalError: An option is wrong, or the model cannot be loaded.
    """
    given = read_command_line("serve", "[MODEL] [OPTIONS]", _SUMMARY, SERVE_FLAGS, arguments, positional="model")
    # Both are checked before anything is loaded.
    config, settings = given.engine_config(), given.server_settings()
    from vllm_local.server.run import run_server

    run_server(config, settings)
