"""`vllm-local bench latency`: how long one batch takes, with the engine in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from vllm_local.cli.bench.results import write_json
from vllm_local.cli.command_line import read_command_line
from vllm_local.cli.flags.flag import Flag
from vllm_local.cli.flags.table import ALL_ENGINE_FLAGS, CONFIG_FLAG
from vllm_local.cli.flags.unused import unused
from vllm_local.cli.flags.values import integer
from vllm_local.cli.progress import progress_bar
from vllm_local.errors import InvalidConfigError
from vllm_local.sampling_params import SamplingParams

if TYPE_CHECKING:
    from vllm_local.llm import LLM

_SUMMARY = "Measures how long one batch of requests takes."
PERCENTAGES = (10, 25, 50, 75, 90, 99)
_MAX_TOKEN_ID = 10_000

BENCH_LATENCY_FLAGS: tuple[Flag, ...] = (
    Flag(name="input-len", type=integer, default=32, help="Tokens in a prompt."),
    Flag(name="output-len", type=integer, default=128, help="Tokens in an answer."),
    Flag(name="batch-size", type=integer, default=8, help="Requests in the batch."),
    Flag(name="n", type=integer, default=1, help="Answers to each."),
    Flag(name="num-iters-warmup", type=integer, default=10, help="Batches before those that count."),
    Flag(name="num-iters", type=integer, default=30, help="Batches that count."),
    Flag(name="output-json", help="File for the result."),
    *unused("answers are always detokenized, beside the engine", "disable-detokenize?", "Options"),
    *unused("there is no beam search and no profiler", "use-beam-search? profile?", "Options"),
    CONFIG_FLAG,
    *ALL_ENGINE_FLAGS,
)


def run(arguments: list[str]) -> None:
    """Measures batches.

    Raises:
        VLLMLocalError: An option is wrong, or the model cannot be loaded.
    """
    given = read_command_line("bench latency", "--model MODEL [OPTIONS]", _SUMMARY, BENCH_LATENCY_FLAGS, arguments)
    for name in ("input_len", "output_len", "batch_size", "n", "num_iters"):
        if given[name] < 1:
            raise InvalidConfigError(f"--{name.replace('_', '-')} must be at least 1, got {given[name]}.")
    # The same prompts again and again would come from the prefix cache.
    config = given.engine_config(enable_prefix_caching=False)
    params = SamplingParams(n=given["n"], temperature=1.0, ignore_eos=True, max_tokens=given["output_len"])
    from vllm_local.llm import LLM

    with LLM(config) as llm:
        prompts = make_prompts(llm, given["batch_size"], given["input_len"])
        typer.echo("Warming up...")
        _time_batches(llm, prompts, params, given["num_iters_warmup"], "Warmup iterations")
        latencies = _time_batches(llm, prompts, params, given["num_iters"], "Bench iterations")
    result = summarize(latencies)
    for line in report(result):
        typer.echo(line)
    if given["output_json"] is not None:
        write_json(Path(given["output_json"]), result, indent=4)


def make_prompts(llm: LLM, count: int, length: int, seed: int = 0) -> list[list[int]]:
    """Returns random token ids, as vLLM's benchmark has them, of this model's vocabulary."""
    high = min(_MAX_TOKEN_ID, llm.get_tokenizer().vocab_size)
    tokens: list[list[int]] = np.random.default_rng(seed).integers(high, size=(count, length)).tolist()
    return tokens


def summarize(latencies: Sequence[float]) -> dict[str, Any]:
    """Returns the result as vLLM saves it, in seconds."""
    percentiles = np.percentile(latencies, PERCENTAGES).tolist()
    return {
        "avg_latency": float(np.mean(latencies)),
        "std_latency": float(np.std(latencies)),
        "latencies": list(latencies),
        "percentiles": dict(zip(PERCENTAGES, percentiles, strict=True)),
    }


def report(result: dict[str, Any]) -> list[str]:
    """Returns the lines that vLLM prints."""
    return [
        f"Avg latency: {result['avg_latency']} seconds",
        f"Std latency: {result['std_latency']} seconds",
        *(f"{share}% percentile latency: {value} seconds" for share, value in result["percentiles"].items()),
    ]


def _time_batches(llm: LLM, prompts: list[list[int]], params: SamplingParams, count: int, title: str) -> list[float]:
    latencies = []
    with progress_bar(title, count) as advance:
        for _ in range(count):
            started = time.perf_counter()
            llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)
            latencies.append(time.perf_counter() - started)
            advance()
    return latencies
