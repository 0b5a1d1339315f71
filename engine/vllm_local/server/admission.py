"""Who may wait for the engine: `max_num_queued_reqs` and `max_num_queued_tokens`."""

from __future__ import annotations

from vllm_local.async_llm import AsyncLLM
from vllm_local.server.errors import QueueFullError
from vllm_local.server.settings import ServerSettings


class Ticket:
    """A request that was let in; it counts until `leave`, and its prompt as waiting until `begin`."""

    def __init__(self, admission: Admission, num_choices: int, num_prompt_tokens: int) -> None:
        """Belongs to the admission that made it."""
        self._admission = admission
        self._num_choices = num_choices
        self._num_prompt_tokens = num_prompt_tokens

    def begin(self) -> None:
        """The engine has answered: the prompt waits no longer."""
        self._admission.num_waiting_tokens -= self._num_prompt_tokens
        self._num_prompt_tokens = 0

    def leave(self) -> None:
        """The request has ended."""
        self.begin()
        self._admission.num_choices -= self._num_choices
        self._num_choices = 0


class Admission:
    """Counts the requests that are with the engine; used in the event loop alone.

    A request counts as often as it has answers, since each takes a seat.

    Attributes:
        num_choices: Answers that are awaited.
        num_waiting_tokens: Tokens of prompts that have no answer yet.
    """

    def __init__(self, engine: AsyncLLM, settings: ServerSettings) -> None:
        """Takes the limits."""
        self.num_choices = 0
        self.num_waiting_tokens = 0
        self._engine = engine
        self._max_requests = settings.max_num_queued_reqs
        self._max_tokens = settings.max_num_queued_tokens

    def enter(self, num_choices: int, num_prompt_tokens: int) -> Ticket:
        """Lets a request in.

        Raises:
            QueueFullError: It would have to wait, and too many do.
        """
        self._check_requests(num_choices)
        self._check_tokens(num_choices, num_prompt_tokens)
        self.num_choices += num_choices
        self.num_waiting_tokens += num_prompt_tokens
        return Ticket(self, num_choices, num_prompt_tokens)

    def _num_queued(self) -> int:
        """Answers that wait: those that the engine knows of, or, of a burst that it has yet to see, who has no seat."""
        return max(self._engine.stats().num_waiting, self.num_choices - self._engine.config.max_num_seqs, 0)

    def _must_wait(self, num_choices: int) -> bool:
        return self._num_queued() > 0 or self.num_choices + num_choices > self._engine.config.max_num_seqs

    def _check_requests(self, num_choices: int) -> None:
        limit = self._max_requests
        if limit is not None and self._must_wait(num_choices) and self._num_queued() >= limit:
            message = (
                f"The server is busy: {self._num_queued()} requests wait, and no more than {limit} may. Try later."
            )
            raise QueueFullError(message)

    def _check_tokens(self, num_choices: int, num_prompt_tokens: int) -> None:
        limit, total = self._max_tokens, self.num_waiting_tokens + num_prompt_tokens
        if limit is not None and total > limit and self._must_wait(num_choices):
            message = f"The server is busy: {total} prompt tokens would wait, and no more than {limit} may. Try later."
            raise QueueFullError(message)
