"""A request to measure with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SampleRequest:
    """A request to measure.

    Attributes:
        prompt: Its text.
        prompt_len: Tokens of it.
        output_len: Tokens that are asked for.
    """

    prompt: str
    prompt_len: int
    output_len: int
