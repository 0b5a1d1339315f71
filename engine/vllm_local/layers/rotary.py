"""Angles of rotary position embedding (RoPE, Su et al., 2021, https://arxiv.org/abs/2104.09864), plain and scaled.

Cosine and sine are not tabulated: the kernels compute them once a step for the positions at hand, which costs less
than reading a table as long as the context.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LinearScaling:
    """Positions divided by a factor.

    Attributes:
        factor: How many times longer the context becomes.
    """

    factor: float

    def apply(self, frequency: float) -> float:
        """Returns the scaled frequency, radians a position."""
        return frequency / self.factor


@dataclass(frozen=True, kw_only=True)
class Llama3Scaling:
    """Llama 3.1's: long waves are stretched, short ones kept, those between interpolated.

    From `apply_scaling` in https://github.com/meta-llama/llama-models, `models/llama3/model.py`.

    Attributes:
        factor: How many times a long wave is stretched.
        low_freq_factor: Waves longer than original_max_position_embeddings / this are long.
        high_freq_factor: Waves shorter than original_max_position_embeddings / this are short; more than the other.
        original_max_position_embeddings: Context in tokens before scaling.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    def apply(self, frequency: float) -> float:
        """Returns the scaled frequency, radians a position."""
        waves = self.original_max_position_embeddings * frequency / (2 * math.pi)
        share = (waves - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        share = min(max(share, 0.0), 1.0)  # 0 for long waves, 1 for short ones
        return frequency * ((1 - share) / self.factor + share)


RotaryScaling = LinearScaling | Llama3Scaling
"""The scalings that are known."""


def rotary_frequencies(head_size: int, theta: float, scaling: RotaryScaling | None = None) -> tuple[float, ...]:
    """Returns the angles of a head's pairs in radians a position: theta^(-2 i / head_size), scaled.

    Args:
        head_size: Numbers in a head, even; half as many angles come back.
        theta: The base, 10,000 in the paper.
        scaling: How a longer context was reached, or None.
    """
    plain = [theta ** (-2 * index / head_size) for index in range(head_size // 2)]
    return tuple(plain if scaling is None else map(scaling.apply, plain))
