"""Scheduling order, kept by queues."""

from __future__ import annotations

import pytest

from tests.engine.core.fakes import make_request
from vllm_local.core.request_queue import RequestQueue, SchedulingOrder
from vllm_local.errors import InvalidConfigError


def fill(policy, requests):
    order = SchedulingOrder(policy)
    queue = RequestQueue(order)
    for request in requests:
        order.register(request)
        queue.add(request)
    return queue


def ids(queue):
    return [request.request_id for request in queue]


def test_fcfs_is_the_order_of_arrival_whatever_the_priority():
    queue = fill("fcfs", [make_request("c", 1, priority=5), make_request("a", 1, arrival=9.0), make_request("b", 1)])
    assert ids(queue) == ["c", "a", "b"]


def test_priority_then_arrival_time_then_order_of_arrival():
    requests = [
        make_request("late", 1, priority=1, arrival=2.0),
        make_request("early", 1, priority=1, arrival=1.0),
        make_request("urgent", 1, priority=-1, arrival=3.0),
        make_request("tie", 1, priority=1, arrival=1.0),
    ]
    assert ids(fill("priority", requests)) == ["urgent", "early", "tie", "late"]


def test_a_request_returns_to_its_place():
    requests = [make_request(name, 1) for name in "abcd"]
    queue = fill("fcfs", requests)
    queue.remove(requests[1])
    assert ids(queue) == ["a", "c", "d"]
    queue.add(requests[1])
    assert ids(queue) == ["a", "b", "c", "d"]
    assert len(queue) == 4
    assert queue[-1] is requests[3]


def test_removing_a_stranger_is_caught():
    requests = [make_request(name, 1) for name in "ab"]
    queue = fill("fcfs", requests)
    queue.remove(requests[0])
    with pytest.raises(AssertionError, match="not in this queue"):
        queue.remove(requests[0])


def test_check_integrity_sees_the_wrong_order():
    queue = fill("fcfs", [make_request(name, 1) for name in "ab"])
    queue.check_integrity()
    queue._requests.reverse()
    with pytest.raises(AssertionError, match="queued after"):
        queue.check_integrity()


def test_an_unknown_policy_is_refused_by_name():
    with pytest.raises(InvalidConfigError, match="one of fcfs, priority, got 'lifo'"):
        SchedulingOrder("lifo")
