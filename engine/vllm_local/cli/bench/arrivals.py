"""When requests arrive."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vllm_local.errors import InvalidConfigError


def arrival_times(count: int, request_rate: float, burstiness: float = 1.0, seed: int = 0) -> list[float]:
    """Returns the seconds from the beginning at which requests are sent, as vLLM spaces them.

    Args:
        count: Requests.
        request_rate: Requests a second on average; infinite sends all at once.
        burstiness: 1 is a Poisson process, less is more bursty, infinite is one like the other.
        seed: The same one gives the same times.

    Raises:
        InvalidConfigError: A value is not positive.
    """
    if request_rate <= 0 or burstiness <= 0:
        message = f"--request-rate and --burstiness must be positive, got {request_rate} and {burstiness}."
        raise InvalidConfigError(message)
    if math.isinf(request_rate):
        return [0.0] * count
    times = _times(np.full(count, request_rate), burstiness, seed)
    # Random gaps miss the rate by a percent or two, and throughput with them.
    return [float(time) for time in times * (count / request_rate / times[-1])]


def ramped_arrival_times(
    count: int, strategy: str, start_rps: float, end_rps: float, *, burstiness: float = 1.0, seed: int = 0
) -> list[float]:
    """Does the same for a rate that rises from the first request to the last.

    Args:
        count: Requests.
        strategy: "linear" or "exponential".
        start_rps: Requests a second at first.
        end_rps: Requests a second at last.
        burstiness: As for `arrival_times`.
        seed: The same one gives the same times.

    Raises:
        InvalidConfigError: A rate is not positive, or the last is below the first.
    """
    if not 0 < start_rps <= end_rps or math.isinf(end_rps) or burstiness <= 0:
        message = f"The rate must rise from above 0, got --ramp-up-start-rps {start_rps} --ramp-up-end-rps {end_rps}."
        raise InvalidConfigError(message)
    is_linear = strategy == "linear"
    rates = np.linspace(start_rps, end_rps, count) if is_linear else np.geomspace(start_rps, end_rps, count)
    return [float(time) for time in _times(rates, burstiness, seed)]


def _times(rates: Any, burstiness: float, seed: int) -> Any:
    """Returns the running sum of gaps, one for each rate."""
    if math.isinf(burstiness):
        return np.cumsum(1 / rates)
    return np.cumsum(np.random.default_rng(seed).gamma(burstiness, 1 / (rates * burstiness)))
