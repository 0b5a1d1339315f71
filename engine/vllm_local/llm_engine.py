"""The control loop: schedule, execute, update, process. Anyone finds any behaviour from `LLMEngine.step`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from vllm_local.core.scheduler import Scheduler
from vllm_local.engine_stats import EngineStats
from vllm_local.errors import VLLMLocalError
from vllm_local.output_collector import OutputCollector, wake
from vllm_local.output_processor import OutputProcessor
from vllm_local.request import FinishReason, Request
from vllm_local.worker.executor import Executor


class LLMEngine:
    """A scheduler, a model runner and an output processor; used by one thread."""

    def __init__(self, *, scheduler: Scheduler, model_runner: Executor, output_processor: OutputProcessor) -> None:
        """Composes the parts."""
        self.scheduler = scheduler
        self.model_runner = model_runner
        self.output_processor = output_processor

    def step(self) -> None:
        """Computes one step of every request that fits in it."""
        scheduled = self.scheduler.schedule()
        result = self.model_runner.execute(scheduled)
        outputs = self.scheduler.update_from_output(scheduled, result)
        return self.output_processor.process(outputs)

    def session(self) -> AbstractContextManager[object]:
        """Returns what a thread may stay in from step to step, so that none of them has to enter it."""
        return self.model_runner.session()

    def has_unfinished_requests(self) -> bool:
        """Whether there is anything left to compute."""
        return self.scheduler.has_unfinished_requests()

    def add_request(self, requests: Sequence[Request], collector: OutputCollector) -> None:
        """Queues a request's n answers; if the scheduler refuses one, the collector gets the error and none runs."""
        try:
            for request in requests:
                self.scheduler.add_request(request)
        except VLLMLocalError as error:
            self.scheduler.finish(collector.choice_ids, FinishReason.ERROR)
            wake(collector.fail(error))
            return
        for request in requests:
            self.output_processor.add_request(request, collector)

    def abort_request(self, collector: OutputCollector) -> None:
        """Ends whichever of a request's answers still run; nothing happens if none does."""
        outputs = self.scheduler.finish(collector.choice_ids, FinishReason.ABORT)
        self.output_processor.counters.requests_aborted += bool(outputs)
        self.output_processor.process(outputs)

    def check_integrity(self) -> None:
        """Checks the scheduler's books.

        Raises:
            AssertionError: They do not agree.
        """
        self.scheduler.check_integrity()

    def stats(self) -> EngineStats:
        """Returns a look at the engine; safe from any thread."""
        scheduler, counters = self.scheduler, self.output_processor.counters
        return EngineStats(
            num_running=scheduler.num_running,
            num_waiting=scheduler.num_waiting,
            generation_tokens_total=counters.generation_tokens,
            prompt_tokens_total=counters.prompt_tokens,
            prefix_cache_queries=scheduler.prefix_cache_queries,
            prefix_cache_hits=scheduler.prefix_cache_hits,
            num_preemptions=scheduler.num_preemptions_total,
            kv_cache_usage=scheduler.kv_cache_usage,
            num_untouched_blocks=scheduler.num_untouched_blocks,
            num_requests_aborted=counters.requests_aborted,
            num_steps_by_tokens=dict(scheduler.num_steps_by_tokens),  # copied at one stroke: the engine thread goes on
        )
