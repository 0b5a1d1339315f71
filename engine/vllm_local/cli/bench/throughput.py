"""`vllm-local bench throughput`: requests and tokens a second, with the engine in this process."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from vllm_local.cli.bench.dataset import DATASET_FLAGS, load_dataset
from vllm_local.cli.bench.results import write_json
from vllm_local.cli.command_line import read_command_line
from vllm_local.cli.flags.flag import Flag
from vllm_local.cli.flags.table import ALL_ENGINE_FLAGS, CONFIG_FLAG
from vllm_local.cli.flags.unused import unused
from vllm_local.cli.flags.values import integer
from vllm_local.errors import InvalidConfigError
from vllm_local.outputs import RequestOutput
from vllm_local.sampling_params import SamplingParams

_SUMMARY = "Measures requests and tokens a second, without a server."

BENCH_THROUGHPUT_FLAGS: tuple[Flag, ...] = (
    Flag(name="backend", choices=("vllm",), default="vllm", help="The engine in this package, under vLLM's name."),
    *DATASET_FLAGS,
    Flag(name="n", type=integer, default=1, help="Answers to each."),
    Flag(name="output-json", help="File for the result."),
    *unused("answers are always detokenized, beside the engine", "disable-detokenize?", "Options"),
    *unused("there is one engine, and no profiler", "async-engine? profile?", "Options"),
    CONFIG_FLAG,
    *ALL_ENGINE_FLAGS,
)


def run(arguments: list[str]) -> None:
    """Measures a batch of many requests.

    Raises:
        VLLMLocalError: An option is wrong, or the model cannot be loaded.
    """
    usage = "--model MODEL --input-len N --output-len N [OPTIONS]"
    given = read_command_line("bench throughput", usage, _SUMMARY, BENCH_THROUGHPUT_FLAGS, arguments)
    config = given.engine_config(enable_prefix_caching=False)
    from vllm_local.llm import LLM

    with LLM(config) as llm:
        samples = load_dataset(given, llm.get_tokenizer, config.seed or 0)
        longest = max(sample.prompt_len + sample.output_len for sample in samples)
        if longest > llm.engine.config.max_model_len:
            message = f"A prompt and its answer take {longest} tokens, and max_model_len is "
            raise InvalidConfigError(f"{message}{llm.engine.config.max_model_len}; ask for shorter ones.")
        params = [
            SamplingParams(n=given["n"], temperature=1.0, ignore_eos=True, max_tokens=sample.output_len)
            for sample in samples
        ]
        started = time.perf_counter()
        outputs = llm.generate([sample.prompt for sample in samples], params)
        seconds = time.perf_counter() - started
    _report(outputs, seconds, given["output_json"])


def _report(outputs: list[RequestOutput], seconds: float, path: str | None) -> None:
    """Prints what vLLM prints, and saves what it saves."""
    num_prompt = sum(len(output.prompt_token_ids) for output in outputs)
    num_output = sum(len(answer.token_ids) for output in outputs for answer in output.outputs)
    total = num_prompt + num_output
    typer.echo(
        f"Throughput: {len(outputs) / seconds:.2f} requests/s, {total / seconds:.2f} total tokens/s, "
        f"{num_output / seconds:.2f} output tokens/s"
    )
    typer.echo(f"Total num prompt tokens:  {num_prompt}")
    typer.echo(f"Total num output tokens:  {num_output}")
    if path is not None:
        result = {
            "elapsed_time": seconds,
            "num_requests": len(outputs),
            "total_num_tokens": total,
            "requests_per_second": len(outputs) / seconds,
            "tokens_per_second": total / seconds,
        }
        write_json(Path(path), result, indent=4)
