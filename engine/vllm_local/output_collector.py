"""Where a request's answers wait for whoever reads them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from vllm_local.outputs import CompletionOutput, Logprob, RequestOutput
from vllm_local.sampling_params import RequestOutputKind


@dataclass(slots=True)
class ChoiceDelta:
    """What is new in one of a request's answers.

    Attributes:
        index: Which of the n answers.
        text: New text.
        token_ids: New tokens.
        logprobs: Their log-probabilities, if asked for.
        sampled_logprobs: Those of the sampled tokens alone, if asked for.
        finish_reason: Set on an answer's last delta.
        stop_reason: What ended it, if a stop string or stop token did.
        num_cached_tokens: Prompt tokens that came from the prefix cache.
        first_scheduled_time: When its first step began, in seconds of `time.monotonic()`.
        prompt_logprobs: Log-probabilities of the prompt's tokens, None for the first; on one delta of one answer.
    """

    index: int
    text: str
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]] | None = None
    sampled_logprobs: list[float] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    num_cached_tokens: int = 0
    first_scheduled_time: float | None = None
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None


@dataclass(slots=True)
class _Choice:
    """One answer, or what of it has not been taken yet."""

    index: int
    texts: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[dict[int, Logprob]] | None = None
    cumulative_logprob: float | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    is_new: bool = False

    def add(self, delta: ChoiceDelta) -> None:
        self.texts.append(delta.text)
        self.token_ids += delta.token_ids
        if delta.logprobs is not None and delta.sampled_logprobs is not None:
            self.logprobs = [] if self.logprobs is None else self.logprobs
            self.logprobs += delta.logprobs
            self.cumulative_logprob = (self.cumulative_logprob or 0.0) + sum(delta.sampled_logprobs)
        self.finish_reason = delta.finish_reason
        self.stop_reason = delta.stop_reason
        self.is_new = True

    def take(self, *, as_delta: bool) -> CompletionOutput:
        text = "".join(self.texts)
        output = CompletionOutput(
            index=self.index,
            text=text,
            token_ids=self.token_ids if as_delta else list(self.token_ids),
            cumulative_logprob=self.cumulative_logprob,
            logprobs=self.logprobs if as_delta or self.logprobs is None else list(self.logprobs),
            finish_reason=self.finish_reason,
            stop_reason=self.stop_reason,
        )
        self.texts = [] if as_delta else [text]
        if as_delta:
            self.token_ids = []
            self.logprobs = None if self.logprobs is None else []
        self.is_new = False
        return output


class AsyncWaiter:
    """A coroutine that waits in its event loop for news from another thread."""

    def __init__(self) -> None:
        """Belongs to the running event loop."""
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()

    def resolve(self) -> None:
        """Lets the coroutine go on; called in its event loop."""
        if not self.future.done():
            self.future.set_result(None)


def wake(waiters: Iterable[AsyncWaiter]) -> None:
    """Wakes coroutines from any thread, at one call an event loop; those of a closed loop are gone anyway."""
    by_loop: dict[asyncio.AbstractEventLoop, list[AsyncWaiter]] = {}
    for waiter in waiters:
        by_loop.setdefault(waiter.loop, []).append(waiter)
    for loop, group in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve_all, group)
        except RuntimeError:  # the loop was closed
            continue


def _resolve_all(waiters: list[AsyncWaiter]) -> None:
    for waiter in waiters:
        waiter.resolve()


class OutputCollector:
    """Takes in what the engine makes of one request and hands it out to sync and async readers, from any thread.

    What a slow reader has not taken yet is merged, so that it never piles up.

    Attributes:
        request_id: The request.
        choice_ids: The scheduler's ids of its n answers.
        num_generated_tokens: The engine's own count of generated tokens, over all answers.
    """

    def __init__(
        self,
        *,
        request_id: str,
        choice_ids: list[str],
        prompt: str | None,
        prompt_token_ids: list[int],
        output_kind: RequestOutputKind,
    ) -> None:
        """Begins with nothing to read."""
        self.request_id = request_id
        self.choice_ids = choice_ids
        self.num_generated_tokens = 0
        self.on_end: Callable[[], None] | None = None
        self._prompt = prompt
        self._prompt_token_ids = prompt_token_ids
        self._kind = output_kind
        self._choices = [_Choice(index) for index in range(len(choice_ids))]
        self._num_unfinished = len(choice_ids)
        self._num_cached_tokens = 0
        self._first_scheduled_time: float | None = None
        self._prompt_logprobs: list[dict[int, Logprob] | None] | None = None
        self._error: BaseException | None = None
        self._is_exhausted = False
        # Entered by itself: Ctrl-C inside `Condition.__enter__`, which is Python, would leave it locked for ever.
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._async_waiters: list[AsyncWaiter] = []

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will come in: all answers have ended, or an error has come."""
        return self._num_unfinished == 0 or self._error is not None

    def add(self, delta: ChoiceDelta) -> list[AsyncWaiter]:
        """Takes in what is new; wakes sync readers and returns the async ones for `wake`."""
        with self._lock:
            if self.is_ended:
                return []
            self._choices[delta.index].add(delta)
            if delta.index == 0:  # the others find what it has computed for them
                self._num_cached_tokens = delta.num_cached_tokens
                self._first_scheduled_time = delta.first_scheduled_time
                self._prompt_logprobs = delta.prompt_logprobs or self._prompt_logprobs
            self._num_unfinished -= delta.finish_reason is not None
            if self._num_unfinished == 0:
                self._end()
            return self._wake_readers() if self._is_readable() else []

    def fail(self, error: BaseException) -> list[AsyncWaiter]:
        """Ends the request with an error, unless it has ended; wakes sync readers, returns the async ones."""
        with self._lock:
            if self.is_ended:
                return []
            self._error = error
            self._end()
            return self._wake_readers()

    def take(self) -> RequestOutput | None:
        """Returns what is new, or None if nothing is.

        Raises:
            EngineError: The engine ended before the request did.
            StopIteration: The last output was taken.
        """
        with self._lock:
            return self._take()

    def wait(self, timeout: float) -> RequestOutput | None:
        """Waits for something new, for `timeout` seconds at most; else like `take`."""
        with self._lock:
            output = self._take()
            if output is None:
                self._news.wait(timeout)
                output = self._take()
            return output

    def add_waiter(self, waiter: AsyncWaiter) -> bool:
        """Registers a coroutine to be woken once; False, and nothing happens, if there is something to take."""
        with self._lock:
            if self._is_readable() or self._error is not None or self._is_exhausted:
                return False
            self._async_waiters.append(waiter)
            return True

    def drop_waiter(self, waiter: AsyncWaiter) -> None:
        """Forgets a coroutine that no longer waits."""
        with self._lock:
            if waiter in self._async_waiters:
                self._async_waiters.remove(waiter)

    def _take(self) -> RequestOutput | None:
        if self._error is not None:
            raise self._error
        if self._is_exhausted:
            raise StopIteration
        if not self._is_readable():
            return None
        as_delta = self._kind is RequestOutputKind.DELTA
        self._is_exhausted = finished = self._num_unfinished == 0
        chosen = [choice for choice in self._choices if choice.is_new or not as_delta]
        prompt_logprobs = self._prompt_logprobs
        if as_delta:
            self._prompt_logprobs = None
        return RequestOutput(
            request_id=self.request_id,
            prompt=self._prompt,
            prompt_token_ids=self._prompt_token_ids,
            outputs=[choice.take(as_delta=as_delta) for choice in chosen],
            finished=finished,
            num_cached_tokens=self._num_cached_tokens,
            num_generated_tokens=self.num_generated_tokens,
            first_scheduled_time=self._first_scheduled_time,
            prompt_logprobs=prompt_logprobs,
        )

    def _is_readable(self) -> bool:
        if self._is_exhausted or self._error is not None:
            return False
        if self._kind is RequestOutputKind.FINAL_ONLY:
            return self._num_unfinished == 0
        return any(choice.is_new for choice in self._choices)

    def _end(self) -> None:
        # Before any reader hears of it: a reader may use the same request id at once.
        if self.on_end is not None:
            self.on_end()

    def _wake_readers(self) -> list[AsyncWaiter]:
        self._news.notify_all()
        waiters, self._async_waiters = self._async_waiters, []
        return waiters
