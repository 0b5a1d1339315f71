"""When requests arrive."""

from __future__ import annotations

import math

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
    if math.isinf(burstiness):
        return [(i + 1) / request_rate for i in range(count)]
    random = np.random.default_rng(seed)
    times = np.cumsum(random.gamma(burstiness, 1 / (request_rate * burstiness), size=count))
    # Random gaps miss the rate by a percent or two, and throughput with them.
    return [float(time) for time in times * (count / request_rate / times[-1])]
