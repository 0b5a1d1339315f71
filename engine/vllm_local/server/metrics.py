"""What is measured, under vLLM's own names, so that its dashboards work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from vllm_local.async_llm import AsyncLLM
from vllm_local.engine_stats import EngineStats
from vllm_local.outputs import CompletionOutput, RequestOutput
from vllm_local.sampling_params import SamplingParams

_LABELS = ("engine", "model_name")
_FINISHED_REASONS = ("stop", "length", "abort", "error")

# vLLM's buckets.
_FIRST_TOKEN_SECONDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_TOKEN_SECONDS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
_REQUEST_SECONDS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
_STEP_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_CHOICES = (1, 2, 5, 10, 20)


class Metrics:
    """One server's metrics; a registry of their own, so that several servers of a process keep apart."""

    def __init__(self, engine: AsyncLLM, model_name: str) -> None:
        """Begins to count.

        Args:
            engine: Asked for its own counts whenever the metrics are read.
            model_name: The label `model_name`.
        """
        self._registry = CollectorRegistry()
        self._labels = ("0", model_name)
        self._registry.register(EngineCollector(engine, self._labels))
        ProcessCollector(registry=self._registry)
        self._add_cache_info(engine)
        lengths = token_buckets(engine.config.max_model_len)
        self.first_token = self._histogram(
            "time_to_first_token_seconds", "Time to first token in seconds.", _FIRST_TOKEN_SECONDS
        )
        self.inter_token = self._histogram(
            "inter_token_latency_seconds", "Inter-token latency in seconds.", _TOKEN_SECONDS
        )
        self.per_output_token = self._histogram(
            "request_time_per_output_token_seconds", "Time per output token of a request in seconds.", _TOKEN_SECONDS
        )
        self.end_to_end = self._seconds("e2e_request_latency_seconds", "End-to-end request latency in seconds.")
        self.queue = self._seconds("request_queue_time_seconds", "Time that a request waited in seconds.")
        self.inference = self._seconds("request_inference_time_seconds", "Time that a request ran in seconds.")
        self.prefill = self._seconds("request_prefill_time_seconds", "Time from start to first token in seconds.")
        self.decode = self._seconds("request_decode_time_seconds", "Time from first to last token in seconds.")
        self.prompt_tokens = self._histogram("request_prompt_tokens", "Number of prefill tokens.", lengths)
        self.generation_tokens = self._histogram("request_generation_tokens", "Number of generation tokens.", lengths)
        self.longest_generation = self._histogram(
            "request_max_num_generation_tokens", "Number of generation tokens of a request's longest answer.", lengths
        )
        self.params_n = self._histogram("request_params_n", "The n request parameter.", _CHOICES)
        self.params_max_tokens = self._histogram(
            "request_params_max_tokens", "The max_tokens request parameter.", lengths
        )
        successes = Counter(
            "vllm:request_success",
            "Count of finished requests, by the reason why they ended.",
            (*_LABELS, "finished_reason"),
            registry=self._registry,
        )
        self.successes = {reason: successes.labels(*self._labels, reason) for reason in _FINISHED_REASONS}

    def render(self) -> bytes:
        """Returns all of them in Prometheus' text format."""
        return generate_latest(self._registry)

    def begin(self, params: SamplingParams) -> RequestRecord:
        """Begins to measure a request that has just arrived."""
        return RequestRecord(self, params)

    def _seconds(self, name: str, documentation: str) -> Histogram:
        return self._histogram(name, documentation, _REQUEST_SECONDS)

    def _histogram(self, name: str, documentation: str, buckets: Sequence[float]) -> Histogram:
        metric = Histogram(f"vllm:{name}", documentation, _LABELS, registry=self._registry, buckets=buckets)
        return metric.labels(*self._labels)

    def _add_cache_info(self, engine: AsyncLLM) -> None:
        config = engine.config
        info = {
            "engine": "0",
            "block_size": config.kv_cache.block_size,
            "num_gpu_blocks": config.kv_cache.num_blocks,
            "num_cpu_blocks": config.kv_cache.num_blocks if config.device == "cpu" else 0,
            "cache_dtype": config.model.dtype,
            "enable_prefix_caching": config.engine.enable_prefix_caching,
            "gpu_memory_utilization": config.engine.gpu_memory_utilization,
        }
        gauge = Gauge("vllm:cache_config_info", "Information of the KV cache.", tuple(info), registry=self._registry)
        gauge.labels(**{name: str(value) for name, value in info.items()}).set(1)


class RequestRecord:
    """Times and counts of one request, from its arrival to its end."""

    def __init__(self, metrics: Metrics, params: SamplingParams) -> None:
        """Notes the time of arrival."""
        self._metrics = metrics
        self._params = params
        self._arrived = time.monotonic()
        self._scheduled: float | None = None
        self._num_prompt_tokens = 0
        self._first_times: dict[int, float] = {}
        self._last_times: dict[int, float] = {}
        self._num_tokens: dict[int, int] = {}
        self._num_unfinished = params.n

    def add(self, output: RequestOutput) -> None:
        """Takes in what the engine has delivered."""
        now = time.monotonic()
        self._scheduled = output.first_scheduled_time
        self._num_prompt_tokens = len(output.prompt_token_ids)
        for choice in output.outputs:
            if choice.token_ids:
                self._add_tokens(choice, now)
            if choice.finish_reason is not None:
                self._num_unfinished -= 1
                self._metrics.successes[choice.finish_reason].inc()
        if output.finished:
            self._observe_all(now)

    def end(self, *, failed: bool = False) -> None:
        """Counts what will never finish: failed, or given up by its client; may be called again, in vain."""
        if self._num_unfinished:
            self._metrics.successes["error" if failed else "abort"].inc(self._num_unfinished)
            self._num_unfinished = 0

    def _add_tokens(self, choice: CompletionOutput, now: float) -> None:
        num_tokens = len(choice.token_ids)
        last = self._last_times.get(choice.index)
        if last is None:
            if not self._first_times:
                self._metrics.first_token.observe(now - self._arrived)
            self._first_times[choice.index] = now
        else:
            for _ in range(num_tokens):  # more than one where a reader was slow
                self._metrics.inter_token.observe((now - last) / num_tokens)
        self._last_times[choice.index] = now
        self._num_tokens[choice.index] = self._num_tokens.get(choice.index, 0) + num_tokens

    def _observe_all(self, now: float) -> None:
        metrics = self._metrics
        metrics.end_to_end.observe(now - self._arrived)
        metrics.prompt_tokens.observe(self._num_prompt_tokens)
        metrics.longest_generation.observe(max(self._num_tokens.values(), default=0))
        metrics.params_n.observe(self._params.n)
        if self._params.max_tokens is not None:
            metrics.params_max_tokens.observe(self._params.max_tokens)
        for index, num_tokens in self._num_tokens.items():
            metrics.generation_tokens.observe(num_tokens)
            if num_tokens > 1:
                seconds = self._last_times[index] - self._first_times[index]
                metrics.per_output_token.observe(seconds / (num_tokens - 1))
        if self._scheduled is not None and self._first_times:
            self._observe_phases(self._scheduled, min(self._first_times.values()), max(self._last_times.values()))

    def _observe_phases(self, scheduled: float, first: float, last: float) -> None:
        # The engine's clock may be read a moment before the request's arrival is noted here.
        self._metrics.queue.observe(max(scheduled - self._arrived, 0))
        self._metrics.prefill.observe(first - scheduled)
        self._metrics.decode.observe(last - first)
        self._metrics.inference.observe(last - scheduled)


class EngineCollector(Collector):
    """Shows the engine's own counts whenever somebody reads the metrics."""

    def __init__(self, engine: AsyncLLM, labels: Sequence[str]) -> None:
        """Takes the engine and the values of the labels."""
        self._engine = engine
        self._values = labels

    def collect(self) -> Iterator[Metric]:
        """Yields the families."""
        stats = self._engine.stats()
        for name, documentation, value in _gauges(stats):
            gauge = GaugeMetricFamily(f"vllm:{name}", documentation, labels=_LABELS)
            gauge.add_metric(self._values, value)
            yield gauge
        for name, documentation, value in _counters(stats):
            counter = CounterMetricFamily(f"vllm:{name}", documentation, labels=_LABELS)
            counter.add_metric(self._values, value)
            yield counter
        yield self._step_sizes(stats)

    def _step_sizes(self, stats: EngineStats) -> Metric:
        steps = {size: count for size, count in stats.num_steps_by_tokens.items() if size}
        counts = [sum(count for size, count in steps.items() if size <= bound) for bound in _STEP_TOKENS]
        buckets = [(str(float(bound)), float(count)) for bound, count in zip(_STEP_TOKENS, counts, strict=True)]
        family = HistogramMetricFamily(
            "vllm:iteration_tokens_total", "Tokens computed in a step of the engine.", labels=_LABELS
        )
        total = sum(size * count for size, count in steps.items())
        family.add_metric(self._values, [*buckets, ("+Inf", float(sum(steps.values())))], total)
        return family


def token_buckets(longest: int) -> tuple[float, ...]:
    """Returns 1, 2, 5, 10, 20, 50, … up to a length."""
    powers = accumulate([1] + [10] * len(str(longest)), lambda power, ten: power * ten)
    return tuple(power * digit for power in powers for digit in (1, 2, 5) if power * digit <= longest)


def _gauges(stats: EngineStats) -> Iterator[tuple[str, str, float]]:
    yield "num_requests_running", "Number of requests in model execution batches.", stats.num_running
    yield "num_requests_waiting", "Number of requests waiting to be processed.", stats.num_waiting
    yield "kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", stats.kv_cache_usage


def _counters(stats: EngineStats) -> Iterator[tuple[str, str, float]]:
    yield "prefix_cache_queries", "Prompt tokens looked up in the prefix cache.", stats.prefix_cache_queries
    yield "prefix_cache_hits", "Prompt tokens found in the prefix cache.", stats.prefix_cache_hits
    yield "num_preemptions", "Cumulative number of preemptions from the engine.", stats.num_preemptions
    yield "prompt_tokens", "Number of prefill tokens processed.", stats.prompt_tokens_total
    yield "generation_tokens", "Number of generation tokens processed.", stats.generation_tokens_total
