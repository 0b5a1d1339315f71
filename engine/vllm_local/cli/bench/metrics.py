"""From requests' outcomes to vLLM's figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vllm_local.cli.bench.client import Outcome

METRICS: Mapping[str, tuple[str, str]] = {
    "ttft": ("TTFT", "Time to First Token"),
    "tpot": ("TPOT", "Time per Output Token (excl. 1st token)"),
    "itl": ("ITL", "Inter-token Latency"),
    "e2el": ("E2EL", "End-to-end Latency"),
    "client_queue_time": ("Client Queue Time", "Client-side Queueing"),
}
"""What a latency is called in a line and in its heading."""
GOODPUT_METRICS = ("ttft", "tpot", "e2el")
_WIDTH = 50


@dataclass(frozen=True)
class Summary:
    """A run in figures.

    Attributes:
        totals: Counts and rates, by vLLM's names.
        latencies: Seconds, by the names of `METRICS`.
    """

    totals: dict[str, Any]
    latencies: dict[str, list[float]]

    def as_result(
        self, outcomes: Sequence[Outcome], selected: Sequence[str], percentiles: Sequence[float]
    ) -> dict[str, Any]:
        """Returns the result as vLLM saves it: the figures, and every request's details."""
        result = {
            **self.totals,
            "input_lens": [outcome.prompt_len for outcome in outcomes],
            "output_lens": [outcome.output_tokens if outcome.success else 0 for outcome in outcomes],
            "ttfts": [outcome.ttft for outcome in outcomes],
            "itls": [outcome.itl for outcome in outcomes],
            "latencies": [outcome.latency for outcome in outcomes],
            "start_times": [outcome.start_time for outcome in outcomes],
            "generated_texts": [outcome.text for outcome in outcomes],
            "errors": [outcome.error for outcome in outcomes],
        }
        for name in selected:
            result |= statistics(name, self.latencies[name], percentiles)
        return result


def summarize(outcomes: Sequence[Outcome], seconds: float, goodput: Mapping[str, float] | None = None) -> Summary:
    """Returns a run in figures.

    Args:
        outcomes: How its requests went.
        seconds: How long it took.
        goodput: Milliseconds that a good request may take, by metric.
    """
    good = [outcome for outcome in outcomes if outcome.success]
    num_input = sum(outcome.prompt_len for outcome in good)
    num_output = sum(outcome.output_tokens for outcome in good)
    peak_tokens, peak_requests = _peaks(good)
    totals = {
        "duration": seconds,
        "completed": len(good),
        "failed": len(outcomes) - len(good),
        "total_input_tokens": num_input,
        "total_output_tokens": num_output,
        "request_throughput": len(good) / seconds,
        "request_goodput": _num_within(good, goodput) / seconds if goodput else None,
        "output_throughput": num_output / seconds,
        "total_token_throughput": (num_input + num_output) / seconds,
        "max_output_tokens_per_s": peak_tokens,
        "max_concurrent_requests": peak_requests,
    }
    latencies = {
        "ttft": [outcome.ttft for outcome in good],
        "tpot": [_tpot(outcome) for outcome in good if outcome.output_tokens > 1],
        "itl": [gap for outcome in good for gap in outcome.itl],
        "e2el": [outcome.latency for outcome in good],
        "client_queue_time": [outcome.client_queue_time for outcome in good],
    }
    return Summary(totals, latencies)


def statistics(name: str, values: Sequence[float], percentiles: Sequence[float]) -> dict[str, float]:
    """Returns mean, median, standard deviation and percentiles of a latency in milliseconds, by vLLM's names."""
    numbers = np.asarray(values or [0.0]) * 1000
    result = {
        f"mean_{name}_ms": float(np.mean(numbers)),
        f"median_{name}_ms": float(np.median(numbers)),
        f"std_{name}_ms": float(np.std(numbers)),
    }
    return {**result, **{f"p{_word(p)}_{name}_ms": float(np.percentile(numbers, p)) for p in percentiles}}


def report(
    summary: Summary,
    selected: Sequence[str],
    percentiles: Sequence[float],
    *,
    max_concurrency: int | None = None,
    request_rate: float = math.inf,
) -> list[str]:
    """Returns the lines that vLLM prints.

    Args:
        summary: The run.
        selected: Latencies to report.
        percentiles: Percentiles of them.
        max_concurrency: As the run had it.
        request_rate: Likewise.
    """
    totals = summary.totals
    lines = [
        f"{' Serving Benchmark Result ':=^{_WIDTH}}",
        _line("Successful requests:", totals["completed"]),
        _line("Failed requests:", totals["failed"]),
    ]
    if max_concurrency is not None:
        lines.append(_line("Maximum request concurrency:", max_concurrency))
    if not math.isinf(request_rate):
        lines.append(_line("Request rate configured (RPS):", float(request_rate)))
    lines += [
        _line("Benchmark duration (s):", totals["duration"]),
        _line("Total input tokens:", totals["total_input_tokens"]),
        _line("Total generated tokens:", totals["total_output_tokens"]),
        _line("Request throughput (req/s):", totals["request_throughput"]),
    ]
    if totals["request_goodput"] is not None:
        lines.append(_line("Request goodput (req/s):", totals["request_goodput"]))
    lines += [
        _line("Output token throughput (tok/s):", totals["output_throughput"]),
        _line("Peak output token throughput (tok/s):", totals["max_output_tokens_per_s"]),
        _line("Peak concurrent requests:", float(totals["max_concurrent_requests"])),
        _line("Total token throughput (tok/s):", totals["total_token_throughput"]),
    ]
    for name in selected:
        lines += _latency_lines(name, summary.latencies[name], percentiles)
    return [*lines, "=" * _WIDTH]


def _latency_lines(name: str, values: Sequence[float], percentiles: Sequence[float]) -> list[str]:
    label, heading = METRICS[name]
    figures = statistics(name, values, percentiles)
    return [
        f"{heading:-^{_WIDTH}}",
        _line(f"Mean {label} (ms):", figures[f"mean_{name}_ms"]),
        _line(f"Median {label} (ms):", figures[f"median_{name}_ms"]),
        *(_line(f"P{_word(p)} {label} (ms):", figures[f"p{_word(p)}_{name}_ms"]) for p in percentiles),
    ]


def _line(label: str, value: float) -> str:
    return f"{label:<40} {value:<10.2f}" if isinstance(value, float) else f"{label:<40} {value:<10}"


def _word(percentile: float) -> str:
    return str(int(percentile)) if int(percentile) == percentile else str(percentile)


def _tpot(outcome: Outcome) -> float:
    return (outcome.latency - outcome.ttft) / (outcome.output_tokens - 1) if outcome.output_tokens > 1 else 0.0


def _num_within(outcomes: Sequence[Outcome], goodput: Mapping[str, float]) -> int:
    def is_good(outcome: Outcome) -> bool:
        values = {"ttft": outcome.ttft, "tpot": _tpot(outcome), "e2el": outcome.latency}
        return all(values[name] * 1000 <= limit for name, limit in goodput.items())

    return sum(map(is_good, outcomes))


def _peaks(outcomes: Sequence[Outcome]) -> tuple[float, int]:
    """Returns the most chunks in one second of the run, and the most requests at any time."""
    if not outcomes:
        return 0.0, 0
    start = min(outcome.start_time for outcome in outcomes)
    buckets: dict[int, int] = {}
    changes: list[tuple[float, int]] = []
    for outcome in outcomes:
        arrivals = outcome.start_time - start + outcome.ttft + np.cumsum([0.0, *outcome.itl])
        for second in arrivals.astype(int).tolist():
            buckets[second] = buckets.get(second, 0) + 1
        # At equal times an end comes before a beginning.
        changes += [(outcome.start_time, 1), (outcome.start_time + outcome.latency, -1)]
    current = peak = 0
    for _, change in sorted(changes):
        current += change
        peak = max(peak, current)
    return float(max(buckets.values())), peak
