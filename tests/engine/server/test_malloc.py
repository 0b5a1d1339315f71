import platform
import sys

import pytest

from tests.engine.engine_fakes import run_python

COUNT_HEAPS = """
    import ctypes, threading
    from vllm_local.server.malloc import limit_arenas

    if {limits}:
        limit_arenas()
    barrier = threading.Barrier(9)

    def work():
        kept = bytearray(50_000)  # beyond what Python keeps in pools of its own
        barrier.wait()
        barrier.wait()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    barrier.wait()
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    file = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
    libc.malloc_info(0, file)
    libc.fclose(file)
    barrier.wait()
"""


def num_heaps(*, limits):
    return run_python(COUNT_HEAPS.format(limits=limits)).stdout.count("<heap nr=")


@pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="only glibc has a heap for each thread"
)
def test_threads_share_two_heaps(monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    assert num_heaps(limits=False) > 4
    assert num_heaps(limits=True) == 2
    monkeypatch.setenv("MALLOC_ARENA_MAX", "5")
    assert num_heaps(limits=True) == 5, "the user's own number stays"
