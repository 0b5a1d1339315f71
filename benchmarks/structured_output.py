"""What structure costs: masks beside the step, a stream beside compilers that are fed nonsense, an object beside text.

Usage: python benchmarks/structured_output.py [--only masks stream object] [--steps 100] [--tokens 500] [--rounds 3]
                                              [--model qwen2.5-0.5b|starter] [--output benchmarks/results]

On Qwen2.5-0.5B's configuration with random weights in bf16, or on the starter model. What is not measured anew stays in
the file of figures.

- masks: 16 answers by a JSON schema at once; what their masks take, on a thread of their own, as a share of each step,
  and what else the engine's thread does for their grammars.
- stream: the time between the tokens of one running answer, quiet and then while 4 callers ask without a pause for
  regular expressions, grammars and schemas that are spoilt by random bytes.
- object: one object of about 300 tokens and as many tokens of free text, in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from machine import machine
from models import bench_model
from rich.console import Console
from rich.table import Table

from vllm_local import SamplingParams
from vllm_local.async_llm import AsyncLLM
from vllm_local.config import EngineConfig
from vllm_local.core import scheduler
from vllm_local.core.grammar_masks import GrammarMasks
from vllm_local.errors import InvalidRequestError
from vllm_local.llm_engine import LLMEngine
from vllm_local.starter import starter_path

MODELS: dict[str, Callable[[], Path]] = {"qwen2.5-0.5b": bench_model, "starter": starter_path}
BATCH = 16
CALLERS = 4
QUIET_SHARE = 0.2
"""Share of the stream before the callers begin."""
TARGETS = {
    "masks, % of a step": 5.0,
    "p99 between tokens beside the callers, in quiet medians": 3.0,
    "seconds of the object, in those of the text": 1.0,
}
FORMS: dict[str, list[str]] = {
    "regex": [r"[a-z]{2,5}-\d+", r"(yes|no)+, \w{3}", r"(a|b)*c{1,300}", ""],
    "grammar": ['start: "a" start | /[0-9]+/', 'root ::= "a" | "b" root', ""],
    "json": ['{"type": "object", "properties": {"a": {"type": "integer"}}}', '{"enum": [1, "ü", null]}', ""],
}
"""What is spoilt; an empty text becomes random bytes."""
Rows = list[dict[str, float]]


def orders(count: int) -> dict[str, Any]:
    """Returns the schema of an object with so many orders in it."""
    order = {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "minimum": 1, "maximum": 999_999},
            "customer": {"type": "string", "maxLength": 24},
            "status": {"enum": ["open", "sent", "paid", "returned"]},
            "total": {"type": "number", "minimum": 0, "maximum": 10_000},
            "items": {"type": "array", "items": {"type": "string", "maxLength": 16}, "minItems": 1, "maxItems": 3},
            "is_gift": {"type": "boolean"},
        },
        "required": ["id", "customer", "status", "total", "items", "is_gift"],
    }
    listed = {"type": "array", "items": order, "minItems": count, "maxItems": count}
    return {"type": "object", "properties": {"orders": listed}, "required": ["orders"]}


def main() -> None:
    """Measures, prints tables and writes the figures."""
    arguments = _arguments()
    config = EngineConfig(
        model=str(MODELS[arguments.model]()), max_model_len=1024, max_num_seqs=32, use_tqdm_on_load=False
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "structured_output.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    with AsyncLLM(config) as engine:
        _seconds(engine, SamplingParams(max_tokens=4, structured_outputs={"json": orders(1)}))  # warms up
        for name in arguments.only:
            figures = PARTS[name](engine, arguments)
            Console().print(table(figures), machine("llguidance"))
            kept[name] = {"machine": machine("llguidance"), "model": arguments.model, "figures": figures}
            path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def masks(engine: AsyncLLM, arguments: argparse.Namespace) -> dict[str, float]:
    """Returns what the grammars of a batch take, as shares of the steps that have masks."""
    with timed_steps() as rows:
        prompts, params = ["Hello!"] * BATCH, [_json_params(orders(6), seed) for seed in range(BATCH)]
        streams = engine.submit_batch(prompts, params, [0] * BATCH)
        next(output for output in streams[0] if output.finished or len(rows) > arguments.steps)
        for running in streams:
            running.abort()
    full = [row for row in rows if row["answers"] == BATCH]
    shares = {
        "masks, % of a step": [100 * row["masks"] / row["step"] for row in full],
        "fitting and advancing, % of a step": [100 * row["advance"] / row["step"] for row in full],
        "masks, ms": [1000 * row["masks"] for row in full],
        f"step of {BATCH} answers by a schema, ms": [1000 * row["step"] for row in full],
    }
    return {name: statistics.median(values) for name, values in shares.items()} | {
        "masks, p99, % of a step": _percentile(shares["masks, % of a step"], 99),
        "steps with masks": len(full),
    }


@contextlib.contextmanager
def timed_steps() -> Iterator[Rows]:
    """Notes of each step meanwhile its seconds, and those of its masks and of what else its grammars do."""
    rows: Rows = []
    spent: Counter[str] = Counter()

    def step(call: Callable[..., Any], *arguments: Any) -> Any:
        spent.clear()
        began = time.perf_counter()
        result = call(*arguments)
        rows.append({"masks": 0.0, "advance": 0.0, "answers": 0, **spent, "step": time.perf_counter() - began})
        return result

    def add(name: str) -> Callable[..., Any]:
        def call_timed(call: Callable[..., Any], *arguments: Any) -> Any:
            began = time.perf_counter()
            result = call(*arguments)
            spent[name] += time.perf_counter() - began
            if name == "masks":
                spent["answers"] = len(result)
            return result

        return call_timed

    with (
        _wrapped(LLMEngine, "step", step),
        _wrapped(GrammarMasks, "_fill", add("masks")),
        _wrapped(scheduler, "fit_tokens", add("advance")),
        _wrapped(scheduler, "advance_grammar", add("advance")),
    ):
        yield rows


@contextlib.contextmanager
def _wrapped(owner: Any, name: str, wrapper: Callable[..., Any]) -> Iterator[None]:
    call = getattr(owner, name)
    setattr(owner, name, lambda *arguments: wrapper(call, *arguments))
    try:
        yield
    finally:
        setattr(owner, name, call)


def stream(engine: AsyncLLM, arguments: argparse.Namespace) -> dict[str, float]:
    """Returns how a running answer's tokens come, quiet and beside callers who ask for nonsense."""
    params = SamplingParams(max_tokens=arguments.tokens, temperature=1.0, seed=0, ignore_eos=True)
    running = iter(engine.submit("Hello!", params))
    next(running)
    quiet = _gaps(itertools.islice(running, int(QUIET_SHARE * arguments.tokens)))
    with nonsense(engine) as outcomes:
        beside = _gaps(running)
    median = statistics.median(quiet)
    return {
        "quiet median between tokens, ms": 1000 * median,
        "quiet p99 between tokens, ms": 1000 * _percentile(quiet, 99),
        "p99 between tokens beside the callers, ms": 1000 * _percentile(beside, 99),
        "p99 between tokens beside the callers, in quiet medians": _percentile(beside, 99) / median,
        "longest between tokens beside the callers, ms": 1000 * max(beside),
        "forms that were answered": outcomes["answered"],
        "forms that were refused": outcomes["refused"],
    }


def _gaps(outputs: Iterable[Any]) -> list[float]:
    times = [time.perf_counter()] + [time.perf_counter() for _ in outputs]
    return [after - before for before, after in itertools.pairwise(times)][1:]


@contextlib.contextmanager
def nonsense(engine: AsyncLLM) -> Iterator[Counter[str]]:
    """Asks for forms that are spoilt, from several threads, and counts what becomes of them."""
    outcomes: Counter[str] = Counter()
    is_over = threading.Event()

    def ask(number: int) -> None:
        chance = random.Random(number)
        while not is_over.is_set():
            kind, texts = chance.choice(list(FORMS.items()))
            form = {kind: spoilt(chance.choice(texts), chance)}
            try:
                _finish(engine.submit("Hello!", SamplingParams(max_tokens=8, structured_outputs=form)))
                outcomes["answered"] += 1
            except InvalidRequestError:
                outcomes["refused"] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def spoilt(text: str, chance: random.Random) -> str:
    """Returns a text some of whose characters are random bytes now."""
    characters = list(text or chance.randbytes(chance.randrange(1, 80)).decode("latin-1"))
    for _ in range(chance.randrange(3)):
        characters[chance.randrange(len(characters))] = chr(chance.randrange(256))
    return "".join(characters)


def object_beside_text(engine: AsyncLLM, arguments: argparse.Namespace) -> dict[str, float]:
    """Returns how long an object takes, and as many tokens of text."""
    objects, texts, lengths = [], [], []
    for seed in range(arguments.rounds):
        seconds, length = _seconds(engine, _json_params(orders(6), seed))
        objects.append(seconds)
        lengths.append(length)
        free = SamplingParams(max_tokens=length, temperature=1.0, seed=seed, ignore_eos=True)
        texts.append(_seconds(engine, free)[0])
    return {
        "tokens of the object": statistics.median(lengths),
        "seconds of the object": statistics.median(objects),
        "seconds of the text": statistics.median(texts),
        "seconds of the object, in those of the text": statistics.median(objects) / statistics.median(texts),
    }


PARTS: dict[str, Callable[[AsyncLLM, argparse.Namespace], dict[str, float]]] = {
    "masks": masks,
    "stream": stream,
    "object": object_beside_text,
}
"""What is measured."""


def table(figures: dict[str, float]) -> Table:
    """Returns the figures beside their targets."""
    result = Table("figure", "measured", "target")
    for name, value in figures.items():
        result.add_row(name, f"{value:.3g}", f"at most {TARGETS[name]:g}" if name in TARGETS else "")
    return result


def _json_params(schema: dict[str, Any], seed: int) -> SamplingParams:
    return SamplingParams(max_tokens=700, temperature=1.0, seed=seed, structured_outputs={"json": schema})


def _seconds(engine: AsyncLLM, params: SamplingParams) -> tuple[float, int]:
    """Returns how long an answer takes, and of how many tokens it is."""
    began = time.perf_counter()
    answer = _finish(engine.submit("Hello!", params)).outputs[0]
    return time.perf_counter() - began, len(answer.token_ids)


def _finish(outputs: Iterable[Any]) -> Any:
    last = None
    for output in outputs:
        last = output
    return last


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="measure these parts")
    parser.add_argument("--steps", type=int, default=100, help="steps of the batch with masks")
    parser.add_argument("--tokens", type=int, default=500, help="tokens of the stream")
    parser.add_argument("--rounds", type=int, default=3, help="objects and texts that are timed")
    parser.add_argument("--model", choices=tuple(MODELS), default="qwen2.5-0.5b")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
