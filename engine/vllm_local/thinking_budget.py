"""How long a model may think."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_local.errors import InvalidRequestError


@dataclass(frozen=True)
class ThinkingBudget:
    """A limit on thoughts, and what ends them.

    Attributes:
        max_tokens: Most tokens of thoughts; then `closing` is written for the model.
        closing: What is written.
        end: The text that ends thoughts; part of `closing`.
        starts: The texts one of which begins thoughts, if the answer begins with one; none: they have begun.
    """

    max_tokens: int
    closing: str
    end: str
    starts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks the fields.

        Raises:
            InvalidRequestError: The number makes no sense.
        """
        if isinstance(self.max_tokens, bool) or not isinstance(self.max_tokens, int) or self.max_tokens < 0:
            message = f"thinking_token_budget must be an integer of at least 0, got {self.max_tokens!r}."
            raise InvalidRequestError(message, parameter="thinking_token_budget")
