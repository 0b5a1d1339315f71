"""The score of one skill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vllm_local.starter.evaluation.answer import Answer
from vllm_local.starter.evaluation.sample import Sample


@dataclass(frozen=True)
class Score:
    """Right answers of one skill, with the 95 % Wilson interval and the number that ended by itself.

    Attributes:
        skill: Name of the skill.
        samples: Number of samples.
        correct: Number of right answers.
        low: Lower end of the interval of the share.
        high: Upper end.
        stopped: Number of answers that ended by themselves.
        prompt_tokens: Length of the prompts, on average.
    """

    skill: str
    samples: int
    correct: int
    low: float
    high: float
    stopped: int
    prompt_tokens: float


def wilson_interval(correct: int, samples: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a share."""
    share = correct / samples
    centre = share + z * z / (2 * samples)
    spread = z * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples * samples))
    scale = 1 + z * z / samples
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def score_answers(skill: str, samples: Sequence[Sample], answers: Sequence[Answer]) -> Score:
    """Return the score of a skill's answers."""
    pairs = list(zip(samples, answers, strict=True))
    correct = sum(sample.accepts(answer) for sample, answer in pairs)
    stopped = sum(answer.stopped for answer in answers)
    tokens = round(sum(answer.prompt_tokens for answer in answers) / len(answers), 1)
    return Score(skill, len(pairs), correct, *wilson_interval(correct, len(pairs)), stopped, tokens)
