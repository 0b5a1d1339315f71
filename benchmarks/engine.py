"""Tokens per second of the engine beside `transformers.generate`, interleaved in one run.

Usage: python benchmarks/engine.py [--rounds 5] [--output benchmarks/results]

Work: prefill of 512 tokens, and decode at batch 1, 4, 16 and 32 (prompts of 64 tokens, 64 tokens each), greedy, on
Qwen2.5-0.5B's configuration with random weights in bf16. Each round runs every case of both sides once, one after the
other; the table has the medians and the spread. A decode rate counts the time between the first token and the last:
the time for 65 tokens less the time for 1.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers
from machine import machine
from models import bench_model
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vllm_local import LLM, SamplingParams

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PREFILL_TOKENS = 512
PROMPT_TOKENS = 64
OUTPUT_TOKENS = 64
BATCHES = (1, 4, 16, 32)
Run = Callable[[list[list[int]], int], None]
"""Generates so many tokens for each prompt."""


@dataclass(frozen=True)
class Case:
    """One cell of the table.

    Attributes:
        side: "engine" or "transformers".
        work: "prefill 512" or "decode, batch B".
        batch: Prompts at once.
    """

    side: str
    work: str
    batch: int


def main() -> None:
    """Measures, prints the table, writes the plot and the raw figures."""
    arguments = _arguments()
    folder = bench_model()
    runs = {"engine": _engine(folder), "transformers": _transformers(folder)}
    rates = measure(runs, arguments.rounds)
    console = Console()
    console.print(table(rates))
    console.print(machine("transformers"))
    arguments.output.mkdir(parents=True, exist_ok=True)
    raw = {f"{case.side}, {case.work}": values for case, values in rates.items()}
    figures = {"machine": machine("transformers"), "tok/s": raw}
    (arguments.output / "engine.json").write_text(json.dumps(figures, indent=2) + "\n")
    plot(rates, arguments.output / "engine.png")


def measure(runs: dict[str, Run], rounds: int) -> dict[Case, list[float]]:
    """Returns tokens per second of every case, one figure a round; a round before them warms up."""
    cases = [Case(side, f"prefill {PREFILL_TOKENS}", 1) for side in runs]
    cases += [Case(side, f"decode, batch {batch}", batch) for batch in BATCHES for side in runs]
    rates: dict[Case, list[float]] = {case: [] for case in cases}
    for number in track(range(rounds + 1), "Measuring"):
        for case in cases:
            run = runs[case.side]
            rate = _prefill_rate(run) if "prefill" in case.work else _decode_rate(run, case.batch)
            if number:
                rates[case].append(rate)
    return rates


def _prefill_rate(run: Run) -> float:
    seconds = _seconds(run, _prompts(1, PREFILL_TOKENS), 1)
    return PREFILL_TOKENS / seconds


def _decode_rate(run: Run, batch: int) -> float:
    prompts = _prompts(batch, PROMPT_TOKENS)
    first = _seconds(run, prompts, 1)
    whole = _seconds(run, _prompts(batch, PROMPT_TOKENS), OUTPUT_TOKENS + 1)
    return batch * OUTPUT_TOKENS / (whole - first)


def _seconds(run: Run, prompts: list[list[int]], max_tokens: int) -> float:
    start = time.perf_counter()
    run(prompts, max_tokens)
    return time.perf_counter() - start


def _prompts(batch: int, length: int) -> list[list[int]]:
    """Fresh random tokens each time, so that no prefix cache helps."""
    return [[random.randrange(1000, 150_000) for _ in range(length)] for _ in range(batch)]


def _engine(folder: Path) -> Run:
    llm = LLM(model=str(folder), max_model_len=1024, max_num_seqs=max(BATCHES), use_tqdm_on_load=False)

    def run(prompts: list[list[int]], max_tokens: int) -> None:
        params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
        llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)

    return run


def _transformers(folder: Path) -> Run:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)

    @torch.inference_mode()
    def run(prompts: list[list[int]], max_tokens: int) -> None:
        inputs = torch.tensor(prompts)
        model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            do_sample=False,
            min_new_tokens=max_tokens,
            max_new_tokens=max_tokens,
        )

    return run


def table(rates: dict[Case, list[float]]) -> Table:
    """Returns medians, spreads and ratios, a row a kind of work."""
    single = statistics.median(rates[Case("transformers", "decode, batch 1", 1)])
    result = Table("work", "engine, tok/s", "transformers, tok/s", "ratio", "x transformers, batch 1")
    for case in [case for case in rates if case.side == "engine"]:
        ours, theirs = rates[case], rates[Case("transformers", case.work, case.batch)]
        median = statistics.median(ours)
        over_single = f"{median / single:.1f}" if "decode" in case.work else ""
        ratio = f"{median / statistics.median(theirs):.2f}"
        result.add_row(case.work, _spread(ours), _spread(theirs), ratio, over_single)
    return result


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def plot(rates: dict[Case, list[float]], path: Path) -> None:
    """Draws decode and prefill rates of both sides."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    decode, prefill = figure.subplots(1, 2, width_ratios=(4, 1))
    _bars(decode, rates, "decode")
    _bars(prefill, rates, "prefill")
    decode.set_ylabel("tokens per second")
    decode.legend()
    figure.suptitle("Qwen2.5-0.5B's configuration, bf16, 2 cores (median; line: spread)")
    figure.savefig(path, dpi=120)


def _bars(axes: Axes, rates: dict[Case, list[float]], kind: str) -> None:
    for offset, side in enumerate(("engine", "transformers")):
        chosen = {case: values for case, values in rates.items() if case.side == side and kind in case.work}
        medians = [statistics.median(values) for values in chosen.values()]
        low = [median - min(values) for median, values in zip(medians, chosen.values(), strict=True)]
        high = [max(values) - median for median, values in zip(medians, chosen.values(), strict=True)]
        places = [index + 0.4 * offset for index in range(len(chosen))]
        bars = axes.bar(places, medians, 0.38, yerr=(low, high), label=side)
        axes.bar_label(bars, fmt="%.0f", padding=2)
        axes.margins(y=0.12)
        axes.set_xticks([index + 0.2 for index in range(len(chosen))], [case.work for case in chosen])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds; one more warms up")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
