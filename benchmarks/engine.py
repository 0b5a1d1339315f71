"""This engine beside llama.cpp and transformers: the same work in turn, in one run, as shares of what the machine can.

Usage: python benchmarks/engine.py [--models qwen2.5-0.5b smollm2-135m llama-3.2-1b] [--rounds 5] [--threads 2]
                                   [--output benchmarks/results]

Bench models are real configurations with random weights in bf16 (`models.py`); all sides are shown to compute the same
log-probabilities before they are timed. Each round does every piece of work on every side, one after the other; the
machine's ceilings are measured anew before each, since those of a shared machine change; a figure is compared with the
highest of its round. Tables have medians and
spreads. What is not measured anew stays in the file of figures.

- prefill: a prompt that was never seen, to the token that follows.
- decode: steps that add a token to each of 1 or 16 contexts.
- one core busy: the same at batch 1 while another process computes without a pause.
- sampling: the sampler's share of a step, with temperature, top-p and log-probabilities, where few tokens are probable
  and where nearly all are.
- overhead: what of a step is outside of the native library's functions.

The first model gets it all; the others the first two, on shorter contexts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ceilings import measure_ceilings, multiplies_bfloat16
from engine_plots import plot_model, plot_shares
from engine_report import report
from gguf_file import gguf_file
from machine import machine
from model_cost import ModelCost
from models import CONFIGURATIONS, bench_model
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track
from sides.llama_cpp_decoder import LlamaCppDecoder
from sides.side import Side, random_prompt
from sides.this_engine import ThisEngine, TimedEngine
from sides.transformers_decoder import TransformersDecoder
from sides.worker import Worker

from vllm_local.kernels.cpu import load_library

SIDES: dict[str, Callable[[Path, int], Side]] = {
    "this engine": ThisEngine,
    "llama.cpp": LlamaCppDecoder,
    "transformers": TransformersDecoder,
}
PACKAGES = ("transformers", "llama-cpp-python")
FULL_MODEL = "qwen2.5-0.5b"
BATCHES = (1, 16)
SAMPLING_BATCHES = (1, 16, 32)
TEMPERATURES = {"sampling": 0.3, "sampling, flat": 0.8}
"""Random weights are unsure: 95 % of the mass lie on a few hundred tokens at the one, on 62,000 at the other."""
SHORT_CONTEXT = 64
"""Where the context does not matter, or would flatter a share."""
COMPARED_TOKENS = 256
MAX_DIFFERENCE = 0.5
"""Of a log-probability: roundings make a tenth or two, rotating the wrong numbers makes several."""
_SPIN = "while True: pass"


@dataclass(frozen=True)
class Work:
    """A piece of work that every side does.

    Attributes:
        name: Its row in the table.
        tokens: Tokens that it computes in the seconds that are measured.
        method: Of `Side`.
        arguments: The method's.
        is_beside_busy_core: Another process computes meanwhile.
    """

    name: str
    tokens: int
    method: str
    arguments: tuple[int, ...]
    is_beside_busy_core: bool = False

    @property
    def sides(self) -> list[str]:
        """Who does it: beside a busy core a round of transformers' would take as long as all else."""
        return [side for side in SIDES if not (self.is_beside_busy_core and side == "transformers")]

    def per_token(self, cost: ModelCost) -> dict[str, float]:
        """Returns what the machine has to do at least for each of the tokens."""
        if self.method == "prefill":
            num_bytes, operations = cost.prefill(self.arguments[0])
        else:
            num_bytes, operations = cost.decode(*self.arguments[:2])
        return {"GB": num_bytes / self.tokens / 1e9, "GFLOP": operations / self.tokens / 1e9}


def work_of(model: str) -> list[Work]:
    """Returns what is measured of a model."""
    context, steps = (512, 24) if model == FULL_MODEL else (128, 12)
    works = [Work(f"prefill {context}", context, "prefill", (context,))]
    works += [Work(f"decode, batch {batch}", batch, "decode", (batch, context, steps)) for batch in BATCHES]
    if model == FULL_MODEL:
        works.append(Work("decode, batch 1, one core busy", 1, "decode", (1, context, steps), is_beside_busy_core=True))
    return works


def main() -> None:
    """Measures, prints the tables, writes them, the plots and the raw figures."""
    arguments = _arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "engine.json"
    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for model in arguments.models:
        for measured in measure(model, arguments.rounds, arguments.threads):
            figures[model] = measured
            path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        plot_model(model, figures[model], arguments.output / f"engine-{model}.png")
    text = report(figures)
    (arguments.output / "engine.md").write_text(text, encoding="utf-8")
    plot_shares(figures, arguments.output / "engine.png")
    Console().print(Markdown(text))


def measure(model: str, rounds: int, num_threads: int) -> Iterator[dict[str, Any]]:
    """Yields a model's figures after each round, lists with one number a round."""
    folder = bench_model(model)
    gguf_file(folder)
    library = load_library()
    assert library is not None, "the native kernels are not there"
    multiplies = "bfloat16" if multiplies_bfloat16() else "float32"
    makers = {**SIDES, "timed": TimedEngine} if model == FULL_MODEL else SIDES
    workers = {name: Worker(maker, folder, num_threads) for name, maker in makers.items()}
    works, cost = work_of(model), ModelCost.of(CONFIGURATIONS[model])
    try:
        setting = {
            "machine": machine(*PACKAGES, num_threads=num_threads),
            "instruction set": library.isa,
            "multiplies": multiplies,
            "differences": differences(workers),
            "per token": {work.name: work.per_token(cost) for work in works},
        }
        measurement = Measurement(workers, num_threads)
        _prepare(model, workers)
        for _ in track(range(rounds), model):
            for work in works:
                for side in work.sides:
                    measurement.do_work(work, side)
            if model == FULL_MODEL:
                measurement.time_parts()
            yield {**setting, **measurement.figures}
    finally:
        for worker in workers.values():
            worker.close()


class Measurement:
    """The rounds of one model.

    Attributes:
        figures: By work and side, or by part and batch: a list with one number a round for each figure.
    """

    def __init__(self, workers: dict[str, Worker], num_threads: int) -> None:
        """Takes the sides' processes."""
        self.figures: dict[str, Any] = {}
        self._workers = workers
        self._num_threads = num_threads

    def do_work(self, work: Work, side: str) -> None:
        """Measures the ceilings, and then a piece of work on one side."""
        ceilings = measure_ceilings(self._num_threads)
        with _busy_core() if work.is_beside_busy_core else contextlib.nullcontext():
            seconds = self._workers[side].ask(work.method, *work.arguments)
        found = {
            "tok/s": work.tokens / seconds,
            "read, GB/s": ceilings.bytes_per_second / 1e9,
            "multiply-adds, GFLOP/s": ceilings.operations_per_second / 1e9,
        }
        self._note(("work", work.name, side), found)

    def time_parts(self) -> None:
        """Measures the sampler's share of this engine's steps, and what is outside of native functions."""
        for name, temperature in TEMPERATURES.items():
            for batch in SAMPLING_BATCHES:
                sampler, step = self._workers["this engine"].ask("sampling", batch, SHORT_CONTEXT, 12, temperature)
                found = {"% of a step": 100 * sampler / step, "ms": 1000 * sampler, "step, ms": 1000 * step}
                self._note((name, f"batch {batch}"), found)
        for batch in BATCHES:
            outside, step = self._workers["timed"].ask("overhead", batch, SHORT_CONTEXT, 24)
            found = {"% of a step": 100 * outside / step, "µs": 1e6 * outside, "step, ms": 1000 * step}
            self._note(("overhead", f"batch {batch}"), found)

    def _note(self, place: tuple[str, ...], found: dict[str, float]) -> None:
        figures = self.figures
        for name in place:
            figures = figures.setdefault(name, {})
        for name, value in found.items():
            figures.setdefault(name, []).append(round(value, 3))


def differences(workers: dict[str, Worker]) -> dict[str, float]:
    """Returns how far the others' log-probabilities are from this engine's, where its largest are.

    Raises:
        AssertionError: They are too far: it is not the same model.
    """
    prompt = random_prompt(COMPARED_TOKENS, seed=0)
    ours = workers["this engine"].ask("logprobs", prompt)
    result = {}
    for name in [name for name in SIDES if name != "this engine"]:
        theirs = workers[name].ask("logprobs", prompt)
        result[name] = max(abs(theirs[token_id] - value) for token_id, value in ours.items())
        assert result[name] < MAX_DIFFERENCE, f"{name} computes something else, by {result[name]:.2g}"
    return result


def _prepare(model: str, workers: dict[str, Worker]) -> None:
    """Computes the contexts, and does everything once before it counts."""
    for name in SIDES:
        for work in work_of(model):
            if work.method == "prefill":
                workers[name].ask("prefill", *work.arguments)
            else:
                batch, context, _ = work.arguments
                workers[name].ask("prepare", batch, context)
                workers[name].ask("decode", batch, context, 2)
    if model == FULL_MODEL:
        workers["this engine"].ask("prepare", max(SAMPLING_BATCHES), SHORT_CONTEXT)
        workers["this engine"].ask("sampling", max(SAMPLING_BATCHES), SHORT_CONTEXT, 2, 1.0)
        workers["timed"].ask("prepare", max(BATCHES), SHORT_CONTEXT)
        workers["timed"].ask("overhead", max(BATCHES), SHORT_CONTEXT, 2)


@contextlib.contextmanager
def _busy_core() -> Iterator[None]:
    """Lets another process compute meanwhile."""
    with subprocess.Popen([sys.executable, "-c", _SPIN]) as process:
        try:
            yield
        finally:
            process.kill()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=tuple(CONFIGURATIONS), default=tuple(CONFIGURATIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of every side")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
