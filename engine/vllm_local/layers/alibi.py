"""Slopes of ALiBi, attention with linear biases (Press et al., 2021, https://arxiv.org/abs/2108.12409)."""

from __future__ import annotations

import math


def alibi_slopes(num_heads: int, bias_max: float = 8.0) -> tuple[float, ...]:
    """Returns one slope a head: 2^(-bias_max · i / n) for i = 1 … n, n the next power of two.

    With fewer heads than n, every second slope comes first (the 2nd, the 4th, …), then the others, as MPT orders them
    (`gen_slopes` in https://github.com/mosaicml/llm-foundry, `llmfoundry/models/layers/attention.py`).

    Args:
        num_heads: Query heads.
        bias_max: Negative logarithm, to base 2, of the smallest slope.
    """
    count = 2 ** math.ceil(math.log2(num_heads))
    slopes = [2 ** (-bias_max * index / count) for index in range(1, count + 1)]
    if count != num_heads:
        slopes = (slopes[1::2] + slopes[::2])[:num_heads]
    return tuple(slopes)
