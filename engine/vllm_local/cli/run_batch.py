"""`vllm-local run-batch`: answers a file of requests, through the server's own request handling."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import typer

from vllm_local.cli.batch import answer_batch
from vllm_local.cli.command_line import read_command_line
from vllm_local.cli.flags.flag import Flag
from vllm_local.cli.flags.server import RESPONSE_FLAGS
from vllm_local.cli.flags.table import ALL_ENGINE_FLAGS, CONFIG_FLAG
from vllm_local.cli.flags.unused import unused
from vllm_local.cli.progress import progress_bar
from vllm_local.cli.transfer import local_input, local_output

if TYPE_CHECKING:
    from vllm_local.async_llm import AsyncLLM
    from vllm_local.server.settings import ServerSettings

_SUMMARY = "Answers a file of requests in OpenAI's batch format: one JSON object a line, one result a line."
_WINDOW = 4
"""Requests under way for each that is computed in one step, so that a slow one does not leave the engine idle."""

RUN_BATCH_FLAGS: tuple[Flag, ...] = (
    Flag(name="input-file", short="-i", is_required=True, help="Path or URL of the requests."),
    Flag(
        name="output-file", short="-o", is_required=True, help="Path of the results, or a URL that takes them by PUT."
    ),
    Flag(name="output-tmp-dir", help="Folder for the results before they are sent to a URL."),
    *unused("metrics are the server's", "enable-metrics? url port host", "Options"),
    CONFIG_FLAG,
    *RESPONSE_FLAGS,
    *ALL_ENGINE_FLAGS,
)


def run(arguments: list[str]) -> None:
    """Answers a file of requests.

    Raises:
        VLLMLocalError: An option is wrong, the model cannot be loaded, or a file cannot be had.
    """
    given = read_command_line(
        "run-batch", "-i INPUT -o OUTPUT --model MODEL [OPTIONS]", _SUMMARY, RUN_BATCH_FLAGS, arguments
    )
    config, settings = given.engine_config(), given.server_settings()
    with (
        local_input(given["input_file"]) as source,
        local_output(given["output_file"], given["output_tmp_dir"]) as target,
    ):
        from vllm_local.async_llm import AsyncLLM

        with AsyncLLM(config) as engine:
            num_errors = asyncio.run(_answer_file(engine, settings, source, target))
    if num_errors:
        typer.echo(f"{num_errors} of the requests failed; their lines in the output say why.", err=True)


async def _answer_file(engine: AsyncLLM, settings: ServerSettings, source: Path, target: Path) -> int:
    from vllm_local.server.app import create_app

    app = create_app(engine, settings)
    # A failure of ours becomes its request's 500, and the others go on.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    with source.open(
        encoding="utf-8", errors="surrogateescape"
    ) as lines:  # a byte that is no UTF-8 spoils its line alone
        total = sum(bool(line.strip()) for line in lines)
        lines.seek(0)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://batch") as client,
        ):
            with (
                target.open("w", encoding="utf-8", errors="backslashreplace") as output,
                progress_bar("Running batch", total) as advance,
            ):

                def write(line: str) -> None:
                    output.write(f"{line}\n")
                    output.flush()
                    advance()

                return await answer_batch(client, lines, write, window=_WINDOW * engine.config.max_num_seqs)
