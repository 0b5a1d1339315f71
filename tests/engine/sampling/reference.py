"""Slow formulas that say what sampling means, over one row and its whole vocabulary, in float64."""

from __future__ import annotations

import numpy as np

from vllm_local.sampling_params import SamplingParams


def distribution(logits: np.ndarray, params: SamplingParams) -> np.ndarray:
    """Returns the probability of every token after temperature, min_p, top_k and top_p."""
    scaled = logits.astype(np.float64) / params.temperature
    weights = np.exp(scaled - scaled.max())
    if params.min_p > 0:
        weights[weights < params.min_p * weights.max()] = 0
    if params.top_k > 0:
        kth = np.sort(weights)[::-1][min(params.top_k, len(weights)) - 1]
        weights[weights < kth] = 0
    probabilities = weights / weights.sum()
    if params.top_p < 1:
        order = np.argsort(-probabilities, kind="stable")
        before = probabilities[order].cumsum() - probabilities[order]
        probabilities[order[before >= params.top_p]] = 0
    return probabilities / probabilities.sum()


def chi_square(tokens: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the statistic of observed tokens over its 0.999 quantile: above 1 means a wrong distribution.

    Tokens expected fewer than five times are put together; the quantile is Wilson and Hilferty's (1931).
    """
    expected = probabilities * len(tokens)
    observed = np.bincount(tokens, minlength=len(probabilities)).astype(np.float64)
    assert not observed[expected == 0].any(), "a token of probability 0 was drawn"
    common = expected >= 5
    rare_expected, rare_observed = expected[~common].sum(), observed[~common].sum()
    statistic = ((observed[common] - expected[common]) ** 2 / expected[common]).sum()
    freedom = int(common.sum()) - 1
    if rare_expected >= 5:
        statistic += (rare_observed - rare_expected) ** 2 / rare_expected
        freedom += 1
    assert freedom > 0, "the test has nothing to compare"
    quantile = freedom * (1 - 2 / (9 * freedom) + 3.0902 * np.sqrt(2 / (9 * freedom))) ** 3
    return float(statistic / quantile)
