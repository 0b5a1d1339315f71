"""Answers joined from deltas: whole ones, or pieces of a wanted size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from vllm_local.outputs import CompletionOutput, Logprob
from vllm_local.server.generation import PromptOutput
from vllm_local.server.usage import UsageCounter


@dataclass
class Answer:
    """One answer, or as much of it as has come.

    Attributes:
        texts: Its text, in pieces.
        token_ids: Its tokens.
        logprobs: Their log-probabilities, if asked for.
        finish_reason: Why it ended.
        stop_reason: The stop string or token that ended it.
        prompt_logprobs: Log-probabilities of its prompt, if asked for.
    """

    texts: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[dict[int, Logprob]] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None

    @property
    def text(self) -> str:
        """Its text."""
        return "".join(self.texts)

    def add(self, delta: CompletionOutput) -> None:
        """Takes in what is new."""
        self.texts.append(delta.text)
        self.token_ids += delta.token_ids
        if delta.logprobs is not None:
            self.logprobs = [] if self.logprobs is None else self.logprobs
            self.logprobs += delta.logprobs
        self.finish_reason = delta.finish_reason
        self.stop_reason = delta.stop_reason

    def as_delta(self, index: int) -> CompletionOutput:
        """Returns it as one delta."""
        return CompletionOutput(
            index=index,
            text=self.text,
            token_ids=self.token_ids,
            logprobs=self.logprobs,
            finish_reason=self.finish_reason,
            stop_reason=self.stop_reason,
        )


async def collect(outputs: AsyncIterator[PromptOutput], usage: UsageCounter, shape: tuple[int, int]) -> list[Answer]:
    """Waits for all answers to a request's prompts and returns them, those to one prompt side by side.

    Args:
        outputs: What the engine delivers.
        usage: Counts it.
        shape: How many prompts there are, and how many answers each gets.
    """
    num_prompts, n = shape
    answers = [Answer() for _ in range(num_prompts * n)]
    async for index, output in outputs:
        usage.add(index, output)
        for delta in output.outputs:
            answers[index * n + delta.index].add(delta)
        if output.prompt_logprobs is not None:
            for answer in answers[index * n : (index + 1) * n]:
                answer.prompt_logprobs = output.prompt_logprobs
    return answers


class DeltaBuffer:
    """Holds deltas back until they have `interval` tokens; the first and the last of an answer go at once."""

    def __init__(self, interval: int) -> None:
        """Takes the number of tokens; 1 holds nothing back."""
        self._interval = interval
        self._pending: dict[int, Answer] = {}

    def add(self, place: int, delta: CompletionOutput) -> CompletionOutput | None:
        """Takes in a delta; returns what is to be sent now.

        Args:
            place: Which of all answers it belongs to.
            delta: What is new in it.
        """
        if self._interval == 1:
            return delta
        is_first = place not in self._pending
        pending = self._pending.setdefault(place, Answer())
        pending.add(delta)
        if not is_first and delta.finish_reason is None and len(pending.token_ids) < self._interval:
            return None
        self._pending[place] = Answer()
        return pending.as_delta(delta.index)
