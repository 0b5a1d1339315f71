"""Measuring the starter model on held-out inputs: ``python -m vllm_local.starter.evaluate``.

Every sample is a conversation, with tools or thoughts where the skill has them; the model's greedy answer must
equal the expected one, character for character, and end by itself. Nothing constrains the output.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from vllm_local.starter import starter_path
from vllm_local.starter.evaluation.answer import Answer
from vllm_local.starter.evaluation.sample import Sample
from vllm_local.starter.evaluation.score import Score, score_answers
from vllm_local.starter.evaluation.skills import SKILLS, draw_samples
from vllm_local.starter.tokenizer import MAX_LENGTH, render

if TYPE_CHECKING:
    from vllm_local.llm import LLM

MAX_TOKENS = 256

Generate = Callable[[Sequence[str]], list[Answer]]
Failures = list[tuple[Sample, Answer]]


def chosen_skills(parts: str) -> list[str]:
    """Return the skills whose names contain one of the comma-separated parts; all of them if there is none.

    Raises:
        ArgumentTypeError: No skill has such a name.
    """
    wanted = [part.strip().lower() for part in parts.split(",") if part.strip()] or [""]
    chosen = [skill for skill in SKILLS if any(part in skill.lower() for part in wanted)]
    if not chosen:
        raise argparse.ArgumentTypeError(f"no skill is called {parts!r}; there are: {'; '.join(SKILLS)}")
    return chosen


def evaluate(
    generate: Generate, count: int, seed: int, skills: Iterable[str] = tuple(SKILLS), template: str | None = None
) -> Iterator[tuple[Score, Failures]]:
    """Yield each skill's score with its failures.

    Args:
        generate: Answers prompts.
        count: Samples a skill.
        seed: Seed of the samples.
        skills: Names of the skills.
        template: The model's chat template; that of the scripts if left out.
    """
    known: dict[str, Answer] = {}
    for skill in skills:
        samples = draw_samples(skill, count, seed)
        prompts = [render(sample.conversation, add_generation_prompt=True, template=template) for sample in samples]
        asked = [prompt for prompt in prompts if prompt not in known]
        known.update(zip(asked, generate(asked) if asked else [], strict=True))
        answers = [known[prompt] for prompt in prompts]
        pairs = zip(samples, answers, strict=True)
        failures = [(sample, answer) for sample, answer in pairs if not sample.accepts(answer)]
        yield score_answers(skill, samples, answers), failures


def engine_answers(llm: LLM, prompts: Sequence[str], max_tokens: int = MAX_TOKENS) -> list[Answer]:
    """Return the greedy answers of this package's engine, all prompts in one batch."""
    from vllm_local.sampling_params import SamplingParams

    tokenizer = llm.get_tokenizer()
    params = SamplingParams(temperature=0, max_tokens=max_tokens)
    token_ids = [tokenizer.encode(prompt, add_special_tokens=False) for prompt in prompts]
    results = llm.generate([{"prompt_token_ids": ids} for ids in token_ids], params, use_tqdm=False)
    outputs = (result.outputs[0] for result in results)
    return [
        Answer(output.text, output.finish_reason == "stop", len(ids))
        for output, ids in zip(outputs, token_ids, strict=True)
    ]


@contextmanager
def engine_generator(model: str) -> Iterator[Generate]:
    """Give greedy generation by the engine of this package."""
    from vllm_local.llm import LLM

    with LLM(model=model, max_model_len=MAX_LENGTH) as llm:
        yield lambda prompts: engine_answers(llm, prompts)


@contextmanager
def transformers_generator(model: str, batch_size: int = 16) -> Iterator[Generate]:
    """Give greedy generation by transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model, padding_side="left")
    network: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)

    def generate_batch(prompts: Sequence[str]) -> list[Answer]:
        inputs = tokenizer(list(prompts), add_special_tokens=False, padding=True, return_tensors="pt")
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        with torch.inference_mode():
            rows = network.generate(**inputs, max_new_tokens=MAX_TOKENS)[:, inputs["input_ids"].shape[1] :]
        stopped = [bool((row == tokenizer.eos_token_id).any()) for row in rows]
        texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [Answer(*answer) for answer in zip(texts, stopped, lengths, strict=True)]

    def generate(prompts: Sequence[str]) -> list[Answer]:
        starts = range(0, len(prompts), batch_size)
        return [answer for start in starts for answer in generate_batch(prompts[start : start + batch_size])]

    yield generate


def model_template(folder: Path) -> str:
    """Return the chat template of a model folder."""
    return str(json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"])


def _show(table: Table, score: Score) -> None:
    share = f"{100 * score.correct / score.samples:.1f} %"
    interval = f"{100 * score.low:.1f}-{100 * score.high:.1f}"
    ended = f"{100 * score.stopped / score.samples:.1f} %"
    table.add_row(score.skill, str(score.samples), f"{score.prompt_tokens:,.0f}", share, interval, ended)


def _show_failures(console: Console, failures: Failures) -> None:
    for sample, answer in failures:
        texts = f"{sample.prompt}\n  expected {sample.expected!r}\n  got      {answer.text!r}"
        console.print(texts, markup=False, highlight=False)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Evaluate the starter model on held-out inputs.")
    parser.add_argument("--model", type=Path, default=starter_path(), help="model folder")
    parser.add_argument("--samples", type=int, default=300, help="samples a skill")
    parser.add_argument("--skills", type=chosen_skills, default="", help="parts of skills' names, comma-separated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transformers", action="store_true", help="generate with transformers, not the engine")
    parser.add_argument("--failures", type=int, default=0, help="failures to show for each skill")
    parser.add_argument("--json", type=Path, help="file for the scores")
    return parser.parse_args()


def main() -> None:
    """Parse the command line, evaluate, and print the table."""
    arguments = _parse_arguments()
    console = Console()
    generator = transformers_generator if arguments.transformers else engine_generator
    table = Table("skill", "samples", "prompt tokens", "right", "95 % interval", "ended by itself")
    scores = []
    with generator(str(arguments.model)) as generate, Progress(console=console, transient=True) as progress:
        task = progress.add_task("skills", total=len(arguments.skills))
        template = model_template(arguments.model)
        for score, failures in evaluate(generate, arguments.samples, arguments.seed, arguments.skills, template):
            _show(table, score)
            _show_failures(progress.console, failures[: arguments.failures])
            scores.append(asdict(score))
            progress.advance(task)
    console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
