"""What a run leaves behind: vLLM's JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from vllm_local.cli.flags.arguments import Arguments
from vllm_local.cli.flags.flag import Flag, Shape
from vllm_local.cli.flags.values import key_value
from vllm_local.errors import InvalidConfigError

RESULT_FLAGS: tuple[Flag, ...] = (
    Flag(name="label", help="Beginning of the result's file name; the backend by default."),
    Flag(name="save-result", shape=Shape.SWITCH, help="Save the result as JSON."),
    Flag(name="save-detailed", shape=Shape.SWITCH, help="With every request's times, text and error."),
    Flag(name="append-result", shape=Shape.SWITCH, help="Add the result to the file, as a further line."),
    Flag(name="metadata", shape=Shape.LIST, type=key_value, help="KEY=VALUE, saved with the result."),
    Flag(name="result-dir", help="Folder of the file."),
    Flag(name="result-filename", help="Its name; {label}-{rate}qps-{model}-{time}.json by default."),
)
_DETAILS = ("input_lens", "output_lens", "start_times", "ttfts", "itls", "latencies", "generated_texts", "errors")


def save_result(arguments: Arguments, model: str, result: Mapping[str, Any], *, started: datetime) -> Path | None:
    """Saves a result if the command line says so; returns the file.

    Args:
        arguments: With `RESULT_FLAGS`.
        model: The model's name.
        result: Figures, and every request's details.
        started: When the run was.

    Raises:
        InvalidConfigError: The file cannot be written.
    """
    if not (arguments["save_result"] or arguments["append_result"]):
        return None
    date = started.strftime("%Y%m%d-%H%M%S")
    rate = arguments["request_rate"]
    content = {
        "date": date,
        "endpoint_type": arguments["backend"],
        "backend": arguments["backend"],
        "label": arguments["label"],
        "model_id": model,
        "num_prompts": arguments["num_prompts"],
        **dict(arguments["metadata"] or []),
        "request_rate": "inf" if math.isinf(rate) else rate,
        "burstiness": arguments["burstiness"],
        "max_concurrency": arguments["max_concurrency"],
        **{name: value for name, value in result.items() if arguments["save_detailed"] or name not in _DETAILS},
    }
    path = Path(arguments["result_dir"] or ".") / (arguments["result_filename"] or _file_name(arguments, model, date))
    write_json(path, content, append=bool(arguments["append_result"]))
    return path


def write_json(path: Path, content: Mapping[str, Any], *, append: bool = False, indent: int | None = None) -> None:
    """Writes a JSON file, or adds a line to one; its folder is made if need be.

    Raises:
        InvalidConfigError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if append else "w", encoding="utf-8") as file:
            file.write(("\n" if append and file.tell() else "") + json.dumps(content, indent=indent))
    except OSError as error:
        raise InvalidConfigError(f"The result cannot be written: {error}") from error
    typer.echo(f"Result saved to {path}", err=True)


def _file_name(arguments: Arguments, model: str, date: str) -> str:
    concurrency = arguments["max_concurrency"]
    suffix = "" if concurrency is None else f"-concurrency{concurrency}"
    label = arguments["label"] or arguments["backend"]
    return f"{label}-{arguments['request_rate']}qps{suffix}-{model.rpartition('/')[2]}-{date}.json"
