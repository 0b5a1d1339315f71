import math

import numpy as np
import pytest

from vllm_local.cli.bench.arrivals import arrival_times
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
