import gc
import os
import sys
import threading
import time

import pytest

from tests.engine.engine_fakes import make_engine
from vllm_local.engine_registry import REGISTRY, EngineRegistry


class FakeEngine:
    def __init__(self, name, reserved=0):
        self.name, self.reserved, self.closed = name, reserved, 0

    def describe(self):
        return self.name

    def reserved_memory(self):
        return self.reserved

    def close_at_exit(self):
        self.closed += 1


class FakeThreads:
    def __init__(self, is_alive=True):
        self.is_alive, self.joined = is_alive, 0

    def join(self):
        self.joined += 1


def test_engines_are_named_while_somebody_holds_them():
    registry = EngineRegistry()
    first, second = FakeEngine("a"), FakeEngine("b")
    registry.add(first, FakeThreads())
    registry.add(second, FakeThreads())
    assert sorted(registry.descriptions()) == ["a", "b"]
    registry.discard(first)
    assert registry.descriptions() == ["b"]
    del second
    gc.collect()
    assert registry.descriptions() == []


def test_what_engines_may_still_take_adds_up():
    registry = EngineRegistry()
    assert registry.reserved_memory() == 0
    first, second = FakeEngine("a", reserved=100), FakeEngine("b", reserved=20)
    registry.add(first, FakeThreads())
    registry.add(second, FakeThreads())
    assert registry.reserved_memory() == 120
    registry.discard(first)
    assert registry.reserved_memory() == 20


def test_threads_and_finalizers_may_come_and_go_at_any_moment():
    """With a WeakSet, looking at the engines while another thread adds one fails."""
    registry, kept, is_over = EngineRegistry(), [], threading.Event()

    class Owner:
        def __init__(self):
            self.itself = self  # so that only the garbage collector frees it, in whatever thread
            self.engine = FakeEngine("owned")
            registry.add(self.engine, FakeThreads())

        def __del__(self):
            registry.discard(self.engine)

    def load():
        while not is_over.is_set():
            kept.append(FakeEngine("a"))
            registry.add(kept[-1], FakeThreads(is_alive=False))
            Owner()

    interval, collected_after = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50)
    loader = threading.Thread(target=load)
    loader.start()
    try:
        deadline = time.monotonic() + 20
        while len(kept) < 2000 and time.monotonic() < deadline:
            assert set(registry.descriptions()) <= {"a", "owned"}
    finally:
        is_over.set()
        loader.join(30)
        sys.setswitchinterval(interval)
        gc.set_threshold(*collected_after)
    gc.collect()
    assert not loader.is_alive()
    assert len(kept) >= 2000
    assert registry.descriptions() == ["a"] * len(kept)


def test_all_are_closed_at_exit():
    registry, engine = EngineRegistry(), FakeEngine("a")
    registry.add(engine, FakeThreads())
    registry.close_all()
    assert engine.closed == 1


def test_threads_of_dropped_engines_are_waited_for_at_exit():
    registry, running, ended = EngineRegistry(), FakeThreads(), FakeThreads(is_alive=False)
    registry.add(FakeEngine("a"), ended)
    registry.add(FakeEngine("b"), running)
    registry.add(FakeEngine("c"), FakeThreads())
    gc.collect()
    registry.close_all()
    assert (running.joined, ended.joined) == (1, 0)


@pytest.mark.parametrize("has_torch", [False, True])
def test_a_child_knows_none(monkeypatch, has_torch):
    if has_torch:
        monkeypatch.setitem(sys.modules, "torch", object())
    else:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    registry, engine = EngineRegistry(), FakeEngine("a")
    registry.add(engine, FakeThreads())
    assert not registry.is_after_fork
    assert registry.loading.acquire(blocking=False)
    registry.begin_child()
    assert registry.loading.acquire(blocking=False), "a turn that the parent took is not the child's"
    assert registry.is_after_fork == has_torch
    assert registry.descriptions() == []
    registry.close_all()
    assert engine.closed == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_process_s_registry_notices_a_fork():
    with make_engine() as engine:
        assert engine.describe() in REGISTRY.descriptions()
        child = os.fork()
        if child == 0:
            os._exit(0 if not REGISTRY.descriptions() else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert not REGISTRY.is_after_fork
    assert engine.describe() not in REGISTRY.descriptions()
