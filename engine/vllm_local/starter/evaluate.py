"""Measuring the starter model on held-out inputs: ``python -m vllm_local.starter.evaluate``.

Every sample is a conversation; the model's greedy answer must equal the expected one, character for character,
and end by itself. Nothing constrains the output.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from vllm_local.starter import starter_path
from vllm_local.starter.sampler import HELD_OUT_PAIRS, HELD_OUT_SHAPES, Split
from vllm_local.starter.skills.copying import drill
from vllm_local.starter.skills.messages import Message, exchange, system
from vllm_local.starter.skills.numbers import counting, held_out_sum
from vllm_local.starter.skills.recall import recall_one
from vllm_local.starter.skills.smalltalk import unknown
from vllm_local.starter.skills.translation import translate_one_frame
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks

MAX_TOKENS = 128


@dataclass(frozen=True)
class Answer:
    """What a model said, and whether it ended by itself."""

    text: str
    stopped: bool


@dataclass(frozen=True)
class Sample:
    """A prompt and the answer that is right."""

    prompt: list[Message]
    expected: str


@dataclass(frozen=True)
class Score:
    """Exact matches of one skill, with the 95 % Wilson interval and the share that ended by itself."""

    skill: str
    samples: int
    correct: int
    low: float
    high: float
    stopped: int


Generate = Callable[[list[list[Message]]], list[Answer]]


def wilson_interval(correct: int, samples: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a share."""
    share = correct / samples
    centre = share + z * z / (2 * samples)
    spread = z * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples * samples))
    scale = 1 + z * z / samples
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def _drawn(maker: Callable[[Source], list[Message]], **lists: str | Split) -> Callable[[Random, int], list[Sample]]:
    def samples(rng: Random, count: int) -> list[Sample]:
        source = Source(rng, values="heldout", **lists)  # type: ignore[arg-type]
        drawn = (maker(source) for _ in range(count))
        return [Sample(messages[:-1], messages[-1]["content"]) for messages in drawn]

    return samples


def _smalltalk(rng: Random, count: int) -> list[Sample]:
    """Return every held-out line of small talk, with and without a system message."""
    blocks = read_blocks("heldout/smalltalk.txt")
    systems = ("", *read_blocks("train/translation.txt")["plain system"])
    pairs = [(question, answer) for answer, questions in blocks.items() for question in questions]
    every = [
        Sample([*([system(text)] if text else []), *exchange(question, answer)[:1]], answer)
        for (question, answer), text in product(pairs, dict.fromkeys(systems))
    ]
    return rng.sample(every, min(count, len(every)))


SKILLS: dict[str, Callable[[Random, int], list[Sample]]] = {
    "translation: new word pairs": _drawn(translate_one_frame, sentences=HELD_OUT_PAIRS),
    "translation: new sentence shapes": _drawn(translate_one_frame, sentences=HELD_OUT_SHAPES),
    "translation: new ways to ask": _drawn(translate_one_frame, frames="heldout", sentences=HELD_OUT_PAIRS),
    "recall: new names, numbers, words": _drawn(recall_one),
    "recall: new ways to tell and ask": _drawn(recall_one, frames="heldout"),
    "small talk: new wordings": _smalltalk,
    "says that it does not know": _drawn(unknown, frames="heldout"),
    "sums: new pairs": _drawn(held_out_sum),
    "counting: new ways to ask": _drawn(counting, frames="heldout"),
    "repeating: new ways to ask": _drawn(drill, frames="heldout"),
}


def draw_samples(skill: str, count: int, seed: int) -> list[Sample]:
    """Return the seeded evaluation samples of a skill."""
    return SKILLS[skill](Random(f"{seed}/{skill}"), count)


def evaluate(generate: Generate, count: int, seed: int) -> Iterator[tuple[Score, list[tuple[Sample, Answer]]]]:
    """Yield each skill's score with its failures."""
    for skill in SKILLS:
        samples = draw_samples(skill, count, seed)
        answers = generate([sample.prompt for sample in samples])
        pairs = list(zip(samples, answers, strict=True))
        failures = [(sample, answer) for sample, answer in pairs if answer != Answer(sample.expected, True)]
        correct = len(samples) - len(failures)
        stopped = sum(answer.stopped for answer in answers)
        yield Score(skill, len(samples), correct, *wilson_interval(correct, len(samples)), stopped), failures


@contextmanager
def engine_generator(model: str) -> Iterator[Generate]:
    """Give greedy generation by the engine of this package."""
    from vllm_local.llm import LLM
    from vllm_local.sampling_params import SamplingParams

    params = SamplingParams(temperature=0, max_tokens=MAX_TOKENS)

    def generate(prompts: list[list[Message]]) -> list[Answer]:
        outputs = [result.outputs[0] for result in llm.chat(prompts, params, use_tqdm=False)]
        return [Answer(output.text, output.finish_reason == "stop") for output in outputs]

    with LLM(model=model) as llm:
        yield generate


@contextmanager
def transformers_generator(model: str, batch_size: int = 32) -> Iterator[Generate]:
    """Give greedy generation by transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model, padding_side="left")
    network: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)

    def generate_batch(prompts: list[list[Message]]) -> list[Answer]:
        inputs = tokenizer.apply_chat_template(
            prompts, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            rows = network.generate(**inputs, max_new_tokens=MAX_TOKENS)[:, inputs["input_ids"].shape[1] :]
        stopped = [bool((row == tokenizer.eos_token_id).any()) for row in rows]
        texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [Answer(text, stop) for text, stop in zip(texts, stopped, strict=True)]

    def generate(prompts: list[list[Message]]) -> list[Answer]:
        starts = range(0, len(prompts), batch_size)
        return [answer for start in starts for answer in generate_batch(prompts[start : start + batch_size])]

    yield generate


def _show(table: Table, score: Score) -> None:
    share = f"{100 * score.correct / score.samples:.1f} %"
    interval = f"{100 * score.low:.1f}-{100 * score.high:.1f}"
    table.add_row(score.skill, str(score.samples), share, interval, f"{100 * score.stopped / score.samples:.1f} %")


def _show_failures(console: Console, failures: list[tuple[Sample, Answer]]) -> None:
    for sample, answer in failures:
        console.print(json.dumps(sample.prompt, ensure_ascii=False), markup=False)
        console.print(f"  expected {sample.expected!r}\n  got      {answer.text!r}", markup=False)


def main() -> None:
    """Parse the command line, evaluate, and print the table."""
    parser = argparse.ArgumentParser(description="Evaluate the starter model on held-out inputs.")
    parser.add_argument("--model", type=Path, default=starter_path(), help="model folder")
    parser.add_argument("--samples", type=int, default=300, help="samples a skill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transformers", action="store_true", help="generate with transformers, not the engine")
    parser.add_argument("--failures", type=int, default=0, help="failures to show for each skill")
    parser.add_argument("--json", type=Path, help="file for the scores")
    arguments = parser.parse_args()
    console = Console()
    generator = transformers_generator if arguments.transformers else engine_generator
    table = Table("skill", "samples", "exact", "95 % interval", "ended by itself")
    scores = []
    with generator(str(arguments.model)) as generate:
        for score, failures in evaluate(generate, arguments.samples, arguments.seed):
            _show(table, score)
            _show_failures(console, failures[: arguments.failures])
            scores.append(asdict(score))
    console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
