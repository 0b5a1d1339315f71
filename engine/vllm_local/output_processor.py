"""From the scheduler's tokens to text: the engine thread hands over, an output thread detokenises and delivers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from vllm_local.engine_stats import EngineCounters
from vllm_local.errors import EngineError
from vllm_local.output_collector import ChoiceDelta, OutputCollector, wake
from vllm_local.outputs import EngineCoreOutput, Logprob, TokenLogprobs
from vllm_local.request import FinishReason, Request
from vllm_local.tokenizer.detokenizer import IncrementalDetokenizer
from vllm_local.tokenizer.tokenizer import Tokenizer


class Finisher(Protocol):
    """The scheduler's one method that the output processor needs."""

    def finish(
        self, request_ids: Iterable[str], reason: FinishReason, stop_reason: int | str | None = None
    ) -> list[EngineCoreOutput]:
        """Ends requests at the next step."""


@dataclass(slots=True, eq=False)
class ChoiceState:
    """One answer on its way to its reader.

    Attributes:
        index: Which of the n answers.
        collector: Where its reader finds it; shared by all n answers.
        detokenizer: Its text so far; used by one thread only, which one depends on `has_stop_strings`.
        has_stop_strings: Its text decides when it ends, so the engine thread detokenises it.
        include_stop: The token or string that ends it is part of its text.
        num_prompt_tokens: Length of the prompt.
        has_begun: Whether it has had an output.
    """

    index: int
    collector: OutputCollector
    detokenizer: IncrementalDetokenizer
    has_stop_strings: bool
    include_stop: bool
    num_prompt_tokens: int
    has_begun: bool = False


Delivery: TypeAlias = tuple[ChoiceState, EngineCoreOutput, str | None]
"""One answer's news on their way to the output thread, and their text where the engine thread has made it."""


class OutputProcessor:
    """Turns the scheduler's outputs into what readers get.

    `process` runs on the engine thread and does what the next step depends on: it finds stop strings.
    `deliver` runs on the output thread and does the rest. With `hand_over=None` the one calls the other.

    Attributes:
        counters: Totals since the engine was loaded.
    """

    def __init__(
        self, tokenizer: Tokenizer, finisher: Finisher, hand_over: Callable[[list[Delivery]], None] | None = None
    ) -> None:
        """Knows no request yet.

        Args:
            tokenizer: The model's.
            finisher: The scheduler, told when a stop string ends a request.
            hand_over: Takes what `deliver` gets on another thread.
        """
        self.counters = EngineCounters()
        self._tokenizer = tokenizer
        self._finisher = finisher
        self._hand_over = hand_over or self.deliver
        self._choices: dict[str, ChoiceState] = {}

    def add_request(self, request: Request, collector: OutputCollector) -> None:
        """Expects outputs of one of a request's answers."""
        params = request.sampling_params
        detokenizer = IncrementalDetokenizer(
            self._tokenizer,
            skip_special_tokens=params.skip_special_tokens,
            stop_strings=params.stop_strings,
            include_stop_str_in_output=params.include_stop_str_in_output,
            min_tokens=params.min_tokens,
            prompt_token_ids=request.prompt_token_ids,
        )
        self._choices[request.request_id] = ChoiceState(
            index=request.choice_index,
            collector=collector,
            detokenizer=detokenizer,
            has_stop_strings=bool(params.stop_strings),
            include_stop=params.include_stop_str_in_output,
            num_prompt_tokens=request.num_prompt_tokens,
        )

    def process(self, outputs: list[EngineCoreOutput]) -> None:
        """Takes in a step's outputs, finds stop strings in them and hands them over."""
        deliveries = []
        for output in outputs:
            choice = self._choices.get(output.request_id)
            if choice is None:
                continue
            text = self._find_stop_string(choice, output) if choice.has_stop_strings else None
            if output.finish_reason is not None:
                del self._choices[output.request_id]
            if output.error is not None:
                self._drop_siblings(choice)
            deliveries.append((choice, output, text))
        if deliveries:
            self._hand_over(deliveries)

    def deliver(self, deliveries: list[Delivery]) -> None:
        """Detokenises and wakes the readers."""
        waiters = []
        for choice, output, text in deliveries:
            if output.new_token_ids:
                self._count(choice, len(output.new_token_ids))
            if output.error is not None:
                message = f"Request {choice.collector.request_id!r} cannot go on: {output.error}"
                waiters += choice.collector.fail(EngineError(message))
                continue
            delta = ChoiceDelta(
                index=choice.index,
                text=_new_text(choice, output) if text is None else text,
                token_ids=output.new_token_ids,
                finish_reason=None if output.finish_reason is None else output.finish_reason.value,
                stop_reason=output.stop_reason,
                num_cached_tokens=output.num_cached_tokens,
                first_scheduled_time=output.first_scheduled_time,
            )
            if output.new_logprobs is not None:
                delta.logprobs = [self._decode_logprobs(item) for item in output.new_logprobs]
                delta.sampled_logprobs = [item.logprob for item in output.new_logprobs]
            if output.prompt_logprobs is not None:
                delta.prompt_logprobs = [None, *map(self._decode_logprobs, output.prompt_logprobs)]
            waiters += choice.collector.add(delta)
        wake(waiters)

    def _find_stop_string(self, choice: ChoiceState, output: EngineCoreOutput) -> str:
        """Detokenises; if there is a stop string, ends the request and cuts its output behind the string."""
        token_ids = _shown_token_ids(choice, output)
        text, num_tokens, stop_string = choice.detokenizer.append(token_ids)
        if stop_string is None:
            return text if output.finish_reason is None else text + choice.detokenizer.finish()
        if output.finish_reason is None:
            self._finisher.finish([output.request_id], FinishReason.STOP, stop_string)
        del output.new_token_ids[num_tokens:]
        if output.new_logprobs is not None:
            del output.new_logprobs[num_tokens:]
        output.finish_reason, output.stop_reason = FinishReason.STOP, stop_string
        return text

    def _drop_siblings(self, choice: ChoiceState) -> None:
        """Ends the other answers of a request that failed, which nobody will read."""
        for output in self._finisher.finish(choice.collector.choice_ids, FinishReason.ERROR):
            self._choices.pop(output.request_id, None)

    def _count(self, choice: ChoiceState, num_tokens: int) -> None:
        choice.collector.num_generated_tokens += num_tokens
        self.counters.generation_tokens += num_tokens
        if not choice.has_begun:
            choice.has_begun = True
            self.counters.prompt_tokens += choice.num_prompt_tokens if choice.index == 0 else 0

    def _decode_logprobs(self, logprobs: TokenLogprobs) -> dict[int, Logprob]:
        text = self._tokenizer.token_text
        token_id = logprobs.token_id
        decoded = {token_id: Logprob(logprobs.logprob, logprobs.rank, text(token_id))}
        ranks = logprobs.top_ranks or range(1, len(logprobs.top_token_ids) + 1)
        for top_id, logprob, rank in zip(logprobs.top_token_ids, logprobs.top_logprobs, ranks, strict=True):
            decoded.setdefault(top_id, Logprob(logprob, rank, text(top_id)))
        return decoded


def _shown_token_ids(choice: ChoiceState, output: EngineCoreOutput) -> list[int]:
    """Returns the new tokens that have text: the token that ended an answer has none, unless asked for."""
    if output.has_end_token and not choice.include_stop:
        return output.new_token_ids[:-1]
    return output.new_token_ids


def _new_text(choice: ChoiceState, output: EngineCoreOutput) -> str:
    text = choice.detokenizer.append(_shown_token_ids(choice, output)).text
    return text if output.finish_reason is None else text + choice.detokenizer.finish()
