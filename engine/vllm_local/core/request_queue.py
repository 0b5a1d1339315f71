"""The order in which requests are served, and queues that keep it."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

from vllm_local.errors import InvalidConfigError
from vllm_local.request import Request

Rank: TypeAlias = tuple[float, ...]
"""Compares two requests; the smaller one goes first. No two requests have the same."""

_POLICIES: dict[str, Callable[[Request], Rank]] = {
    "fcfs": lambda _: (),
    "priority": lambda request: (request.priority, request.arrival_time),
}


class SchedulingOrder:
    """Ranks requests: "fcfs" in the order they came, "priority" by priority and then arrival time, lower first.

    A request keeps its rank until it is forgotten, so that a preempted one goes back to where it was.
    """

    def __init__(self, policy: str) -> None:
        """Chooses the policy.

        Args:
            policy: "fcfs" or "priority".

        Raises:
            InvalidConfigError: There is no such policy.
        """
        if policy not in _POLICIES:
            raise InvalidConfigError(f"scheduling_policy must be one of {', '.join(_POLICIES)}, got {policy!r}.")
        self._rank_by_policy = _POLICIES[policy]
        self._ranks: dict[str, Rank] = {}
        self._num_seen = 0

    def register(self, request: Request) -> None:
        """Ranks a new request; where the policy sees no difference, after all earlier ones."""
        self._num_seen += 1
        self._ranks[request.request_id] = (*self._rank_by_policy(request), self._num_seen)

    def forget(self, request: Request) -> None:
        """Drops the rank of a finished request."""
        del self._ranks[request.request_id]

    def rank(self, request: Request) -> Rank:
        """Returns the rank of a registered request."""
        return self._ranks[request.request_id]


class RequestQueue:
    """Requests in scheduling order. Adding and removing cost a binary search and a move of pointers."""

    def __init__(self, order: SchedulingOrder) -> None:
        """Makes an empty queue.

        Args:
            order: Knows the rank of every request that is ever added.
        """
        self._rank = order.rank
        self._requests: list[Request] = []

    @property
    def in_order(self) -> Sequence[Request]:
        """The requests, live: it changes with the queue."""
        return self._requests

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def __getitem__(self, index: int) -> Request:
        return self._requests[index]

    def add(self, request: Request) -> None:
        """Adds a request at its place."""
        insort(self._requests, request, key=self._rank)

    def remove(self, request: Request) -> None:
        """Removes a request, which must be here."""
        index = bisect_left(self._requests, self._rank(request), key=self._rank)
        assert self._requests[index] is request, f"request {request.request_id} is not in this queue"
        del self._requests[index]

    def check_integrity(self) -> None:
        """Checks the order.

        Raises:
            AssertionError: Two neighbours are in the wrong order.
        """
        ranks = [self._rank(request) for request in self._requests]
        for first, second in pairwise(ranks):
            if not first < second:
                raise AssertionError(f"a request of rank {second} is queued after one of rank {first}")
