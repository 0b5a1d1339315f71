import gc
import threading
import weakref

from vllm_local.structured_output.compile_threads import SMALL_SIZE, CompileThreads


def test_a_small_constraint_waits_for_no_large_one():
    threads, gate = CompileThreads(), threading.Event()
    large = [threads.submit(SMALL_SIZE + 1, gate.wait, 60) for _ in range(5)]
    names = {threads.submit(SMALL_SIZE, lambda: threading.current_thread().name).result(60) for _ in range(5)}
    assert len(names) == 1, "one thread compiles them all"
    assert not any(item.done() for item in large)
    gate.set()
    assert all(item.result(60) for item in large)


def test_other_threads_keep_their_stacks():
    before = threading.stack_size()
    assert CompileThreads().submit(1, threading.stack_size).result(60) == before
    assert threading.stack_size() == before


def test_threads_end_with_the_object():
    threads = CompileThreads()
    thread = weakref.ref(threads.submit(1, threading.current_thread).result(60))
    running = thread()
    assert running is not None
    del threads
    gc.collect()
    running.join(60)
    assert not running.is_alive()
