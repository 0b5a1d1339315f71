"""What every side does."""

from __future__ import annotations

import random
from typing import Protocol

LARGEST_TOKEN_ID = 40_000
"""Of prompts; every bench model's vocabulary is larger."""


class Side(Protocol):
    """One implementation with a bench model loaded, on a fixed number of threads."""

    def prefill(self, num_tokens: int) -> float:
        """Returns the seconds from a prompt that was never seen to the token that follows."""

    def prepare(self, batch: int, context: int) -> None:
        """Computes the contexts that `decode` continues."""

    def decode(self, batch: int, context: int, steps: int) -> float:
        """Returns the seconds of a step that adds a token to each of some contexts, the mean of several."""

    def logprobs(self, prompt: list[int]) -> dict[int, float]:
        """Returns log-probabilities of tokens that may follow a prompt, of the twenty most probable at least."""


def random_prompt(length: int, seed: int | None = None) -> list[int]:
    """Returns token ids; new ones each time unless a seed is given."""
    source = random.Random(seed)
    return [source.randrange(1000, LARGEST_TOKEN_ID) for _ in range(length)]
