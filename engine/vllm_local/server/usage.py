"""How many tokens a request took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vllm_local.outputs import RequestOutput


class UsageCounter:
    """Counts a request's tokens while its answers come in; each prompt counts once, whatever `n` is.

    Attributes:
        num_prompt_tokens: Tokens of its prompts.
        num_completion_tokens: Tokens of all its answers so far.
        num_reasoning_tokens: Those of them that were thoughts; None if the model does not think.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], *, with_details: bool = False) -> None:
        """Counts the prompts.

        Args:
            prompts: Their tokens.
            with_details: Tell how many came from the prefix cache.
        """
        self.num_prompt_tokens = sum(map(len, prompts))
        self.num_completion_tokens = 0
        self.num_reasoning_tokens: int | None = None
        self._cached = [0] * len(prompts)
        self._with_details = with_details

    @property
    def num_cached_tokens(self) -> int:
        """Prompt tokens that came from the prefix cache."""
        return sum(self._cached)

    def add(self, index: int, output: RequestOutput) -> None:
        """Takes in what is new for one of the prompts."""
        self._cached[index] = output.num_cached_tokens
        self.num_completion_tokens += sum(len(delta.token_ids) for delta in output.outputs)

    def count_reasoning(self, num_tokens: int) -> None:
        """Takes in how many tokens of an answer were thoughts."""
        self.num_reasoning_tokens = (self.num_reasoning_tokens or 0) + num_tokens

    def as_dict(self) -> dict[str, Any]:
        """Returns the counts in OpenAI's shape."""
        reasoning = self.num_reasoning_tokens
        return {
            "prompt_tokens": self.num_prompt_tokens,
            "total_tokens": self.num_prompt_tokens + self.num_completion_tokens,
            "completion_tokens": self.num_completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.num_cached_tokens} if self._with_details else None,
            **({} if reasoning is None else {"completion_tokens_details": {"reasoning_tokens": reasoning}}),
        }
