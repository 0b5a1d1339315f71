"""`vllm-local bench startup`: how long it takes until a model is ready, each time in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import typer

from vllm_local.cli.bench.latency import PERCENTAGES
from vllm_local.cli.bench.results import write_json
from vllm_local.cli.command_line import read_command_line
from vllm_local.cli.flags.flag import Flag
from vllm_local.cli.flags.table import ALL_ENGINE_FLAGS, CONFIG_FLAG
from vllm_local.cli.flags.values import integer
from vllm_local.cli.progress import progress_bar
from vllm_local.config import EngineConfig
from vllm_local.errors import InvalidConfigError, VLLMLocalError

_SUMMARY = "Measures how long it takes until a model is ready: cold, and warm."
_WIDTH = 60
METRICS: Mapping[str, str] = {"startup": "Startup time", "load": "Load time"}
"""Until the model is ready, libraries included; and the part of it that follows the imports."""

BENCH_STARTUP_FLAGS: tuple[Flag, ...] = (
    Flag(name="num-iters-cold", type=integer, default=3, help="Starts after the model's files left the file cache."),
    Flag(name="num-iters-warmup", type=integer, default=1, help="Starts before the warm ones."),
    Flag(name="num-iters-warm", type=integer, default=3, help="Starts that find the files in the cache."),
    Flag(name="output-json", help="File for the result."),
    CONFIG_FLAG,
    *ALL_ENGINE_FLAGS,
)


def run(arguments: list[str]) -> None:
    """Measures starts.

    Raises:
        VLLMLocalError: An option is wrong, or the model cannot be loaded.
    """
    given = read_command_line("bench startup", "--model MODEL [OPTIONS]", _SUMMARY, BENCH_STARTUP_FLAGS, arguments)
    for name in ("num_iters_cold", "num_iters_warm"):
        if given[name] < 1:
            raise InvalidConfigError(f"--{name.replace('_', '-')} must be at least 1, got {given[name]}.")
    config = given.engine_config(use_tqdm_on_load=False)
    from vllm_local.engine_loading import read_model_files

    folder = read_model_files(config).path
    typer.echo("Measuring cold startup time...")
    cold = _measure(config, given["num_iters_cold"], "Cold startup iterations", before=lambda: drop_from_cache(folder))
    typer.echo("Warming up for warm startup measurement...")
    _measure(config, given["num_iters_warmup"], "Warmup iterations")
    typer.echo("Measuring warm startup time...")
    warm = _measure(config, given["num_iters_warm"], "Warm startup iterations")
    phases = {"cold": cold, "warm": warm}
    for line in report(phases):
        typer.echo(line)
    if given["output_json"] is not None:
        write_json(Path(given["output_json"]), as_result(phases), indent=4)


def drop_from_cache(folder: Path) -> None:
    """Asks the system to forget a folder's files, so that they are read from the disk; only some systems can."""
    advise = getattr(os, "posix_fadvise", None)
    if advise is None:
        return
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                advise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def start_once(config: EngineConfig) -> dict[str, float]:
    """Loads a model in a process of its own; returns seconds by the names of `METRICS`.

    Raises:
        VLLMLocalError: It cannot be loaded.
    """
    result = subprocess.run(
        [sys.executable, "-m", "vllm_local.cli.bench.startup_probe"],
        input=json.dumps(asdict(config)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise VLLMLocalError(f"The model was not loaded:\n{result.stderr.strip()[-2000:]}")
    seconds: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return seconds


def report(phases: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """Returns the lines that vLLM prints, without those of the compilation: nothing is compiled."""
    lines = ["=" * _WIDTH, "STARTUP TIME BENCHMARK RESULTS", "=" * _WIDTH]
    for phase, starts in phases.items():
        lines += ["", f"{phase.upper()} STARTUP:"]
        for name, title in METRICS.items():
            lines.append(f"Avg {title.lower()}: {np.mean([start[name] for start in starts]):.2f} seconds")
        for name, title in METRICS.items():
            percentiles = np.percentile([start[name] for start in starts], PERCENTAGES)
            lines.append(f"{title} percentiles:")
            lines += [f"  {share}%: {value:.2f} seconds" for share, value in zip(PERCENTAGES, percentiles, strict=True)]
    return [*lines, "=" * _WIDTH]


def as_result(phases: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """Returns the result as vLLM saves it."""
    result: dict[str, Any] = {}
    for phase, starts in phases.items():
        for name in METRICS:
            values = [start[name] for start in starts]
            percentiles = np.percentile(values, PERCENTAGES).tolist()
            result[f"avg_{phase}_{name}_time"] = float(np.mean(values))
            result[f"{phase}_{name}_times"] = values
            result[f"{phase}_{name}_percentiles"] = dict(zip(PERCENTAGES, percentiles, strict=True))
    return result


def _measure(
    config: EngineConfig, count: int, title: str, before: Callable[[], None] = lambda: None
) -> list[dict[str, float]]:
    starts = []
    with progress_bar(title, count) as advance:
        for _ in range(count):
            before()
            starts.append(start_once(config))
            advance()
    return starts
