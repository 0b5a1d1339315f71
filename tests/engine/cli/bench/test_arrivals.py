import math

import numpy as np
import pytest

from vllm_local.cli.bench.arrivals import arrival_times, ramped_arrival_times
from vllm_local.errors import InvalidConfigError


def test_an_infinite_rate_sends_all_at_once():
    assert arrival_times(3, math.inf) == [0.0, 0.0, 0.0]


def test_the_last_request_comes_when_the_rate_says():
    times = arrival_times(100, 20.0)
    assert times == sorted(times)
    assert times[-1] == pytest.approx(5.0)
    assert times == arrival_times(100, 20.0)
    assert times != arrival_times(100, 20.0, seed=1)


def test_burstiness_is_the_spread_of_the_gaps():
    def spread(burstiness):
        return np.std(np.diff(arrival_times(500, 1.0, burstiness)))

    assert spread(0.2) > 1.5 * spread(1.0) > 3 * spread(20.0)
    assert arrival_times(2, 4.0, math.inf) == [0.25, 0.5]


@pytest.mark.parametrize(("rate", "burstiness"), [(0, 1), (-1, 1), (1, 0)])
def test_values_are_positive(rate, burstiness):
    with pytest.raises(InvalidConfigError):
        arrival_times(1, rate, burstiness)


@pytest.mark.parametrize("strategy", ["linear", "exponential"])
def test_a_rate_may_rise(strategy):
    gaps = np.diff([0.0, *ramped_arrival_times(10, strategy, 1.0, 10.0, burstiness=math.inf)])
    assert (gaps[0], gaps[-1]) == (pytest.approx(1.0), pytest.approx(0.1))
    assert list(gaps) == sorted(gaps, reverse=True)
    assert ramped_arrival_times(10, strategy, 1.0, 10.0) != ramped_arrival_times(10, strategy, 1.0, 10.0, seed=1)


@pytest.mark.parametrize(("start", "end"), [(0, 1), (2, 1), (1, math.inf)])
def test_a_rising_rate_has_bounds(start, end):
    with pytest.raises(InvalidConfigError):
        ramped_arrival_times(2, "linear", start, end)
