import math

import pytest

from vllm_local.cli.bench.client import Outcome
from vllm_local.cli.bench.metrics import report, statistics, summarize

OUTCOMES = [
    Outcome(10, success=True, text="a", output_tokens=3, start_time=5.0, ttft=0.5, itl=[0.25, 0.25], latency=1.0),
    Outcome(20, success=True, text="b", output_tokens=1, start_time=5.5, ttft=0.1, latency=0.1, client_queue_time=0.4),
    Outcome(30, error="503: full", start_time=5.0),
]


def test_totals():
    assert summarize(OUTCOMES, 2.0).totals == {
        "duration": 2.0,
        "completed": 2,
        "failed": 1,
        "total_input_tokens": 30,
        "total_output_tokens": 4,
        "request_throughput": 1.0,
        "request_goodput": None,
        "output_throughput": 2.0,
        "total_token_throughput": 17.0,
        "max_output_tokens_per_s": 3.0,
        "max_concurrent_requests": 2,
    }


def test_latencies():
    latencies = summarize(OUTCOMES, 2.0).latencies
    assert latencies["ttft"] == [0.5, 0.1]
    assert latencies["tpot"] == [0.25]  # one token has no time between tokens
    assert latencies["itl"] == [0.25, 0.25]
    assert latencies["e2el"] == [1.0, 0.1]
    assert latencies["client_queue_time"] == [0.0, 0.4]


def test_a_request_that_follows_another_is_not_beside_it():
    outcomes = [Outcome(1, success=True, output_tokens=1, start_time=start, latency=1.0) for start in (0.0, 1.0, 2.0)]
    assert summarize(outcomes, 3.0).totals["max_concurrent_requests"] == 1


@pytest.mark.parametrize(
    ("limits", "good"),
    [({"ttft": 500.0}, 2), ({"ttft": 499.0}, 1), ({"tpot": 250.0}, 2), ({"tpot": 1, "e2el": 50}, 0)],
)
def test_goodput_counts_requests_within_their_limits(limits, good):
    assert summarize(OUTCOMES, 2.0, limits).totals["request_goodput"] == good / 2


def test_statistics_are_in_milliseconds():
    figures = statistics("ttft", [0.1, 0.2, 0.3], [50.0, 99.9])
    assert figures["mean_ttft_ms"] == pytest.approx(200)
    assert figures["median_ttft_ms"] == figures["p50_ttft_ms"] == pytest.approx(200)
    assert figures["p99.9_ttft_ms"] == pytest.approx(299.8)
    assert statistics("itl", [], [99.0])["mean_itl_ms"] == 0


def test_the_report_is_vllms():
    lines = report(
        summarize(OUTCOMES, 2.0, {"ttft": 500.0}), ["ttft", "itl"], [99.0], max_concurrency=4, request_rate=8
    )
    assert (
        "\n".join(line.rstrip() for line in lines)
        == """\
============ Serving Benchmark Result ============
Successful requests:                     2
Failed requests:                         1
Maximum request concurrency:             4
Request rate configured (RPS):           8.00
Benchmark duration (s):                  2.00
Total input tokens:                      30
Total generated tokens:                  4
Request throughput (req/s):              1.00
Request goodput (req/s):                 1.00
Output token throughput (tok/s):         2.00
Peak output token throughput (tok/s):    3.00
Peak concurrent requests:                2.00
Total token throughput (tok/s):          17.00
---------------Time to First Token----------------
Mean TTFT (ms):                          300.00
Median TTFT (ms):                        300.00
P99 TTFT (ms):                           496.00
---------------Inter-token Latency----------------
Mean ITL (ms):                           250.00
Median ITL (ms):                         250.00
P99 ITL (ms):                            250.00
=================================================="""
    )


def test_what_was_not_asked_for_is_not_reported():
    lines = "\n".join(report(summarize(OUTCOMES, 2.0), ["e2el"], [50.0], request_rate=math.inf))
    assert "Request rate configured" not in lines
    assert "goodput" not in lines
    assert "TTFT" not in lines
    assert "P50 E2EL (ms):" in lines


def test_a_result_has_every_request():
    summary = summarize(OUTCOMES, 2.0)
    result = summary.as_result(OUTCOMES, ["ttft"], [99.0])
    assert result["completed"] == 2
    assert result["output_lens"] == [3, 1, 0]
    assert result["errors"] == ["", "", "503: full"]
    assert result["p99_ttft_ms"] == pytest.approx(496)
    assert "mean_itl_ms" not in result


def test_nothing_but_failures():
    totals = summarize([OUTCOMES[2]], 1.0).totals
    assert (totals["completed"], totals["max_concurrent_requests"], totals["output_throughput"]) == (0, 0, 0)
