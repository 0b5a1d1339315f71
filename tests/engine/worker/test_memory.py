import subprocess
import sys

import pytest
import torch

from vllm_local.errors import EngineError
from vllm_local.worker import memory
from vllm_local.worker.control_group import ControlGroups

VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            300000.
Pages inactive:                           20000.
Pages speculative:                          500.
Pages throttled:                              0.
Pages wired down:                        100000.
Pages purgeable:                            300.
"Translation faults":                 123456789.
"""


def test_this_system_has_some_memory_left():
    left = memory.available_memory("cpu")
    assert 2**20 < left < 2**50


@pytest.mark.parametrize(("reserved", "expected"), [(0, 1000), (300, 700), (1001, 0)])
def test_what_others_were_promised_is_not_left(monkeypatch, reserved, expected):
    monkeypatch.setattr(memory, "host_memory_left", lambda: 1000)
    assert memory.available_memory("cpu", reserved) == expected


@pytest.mark.parametrize(("on_gpu", "expected"), [(900, 700), (500, 500)])
def test_a_gpu_without_memory_of_its_own_shares_the_promises(monkeypatch, on_gpu, expected):
    monkeypatch.setattr(memory, "host_memory_left", lambda: 1000)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: on_gpu)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 0)
    assert memory.available_memory("mps", 300) == expected


def test_a_gpu_with_memory_of_its_own_has_no_part_in_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1000, 2000))
    assert memory.available_memory("cuda", 300) == 1000


@pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc")
@pytest.mark.parametrize(("limit", "is_less"), [(12_345, True), (2**60, False), (None, False)])
def test_control_groups_count_where_they_leave_less(monkeypatch, limit, is_less):
    monkeypatch.setattr(ControlGroups, "memory_left", lambda self: limit)
    assert (memory.host_memory_left() == limit) is is_less


def test_meminfo_is_read_in_kibibytes():
    assert memory.parse_meminfo("MemTotal:  100 kB\nMemFree:  3 kB\nMemAvailable:   50 kB\n") == 50 * 1024


def test_vm_stat_counts_what_can_be_had_without_swapping():
    assert memory.parse_vm_stat(VM_STAT) == 30_300 * 16_384


def test_macos_asks_vm_stat(monkeypatch):
    monkeypatch.setattr(memory, "_run_vm_stat", lambda: VM_STAT)
    assert memory.host_memory_left("darwin") == 30_300 * 16_384


@pytest.mark.parametrize("platform", ["darwin", "win32"])
@pytest.mark.skipif(sys.platform != "linux", reason="the other systems do answer")
def test_a_system_that_does_not_say_is_a_clear_error(monkeypatch, platform):
    monkeypatch.setattr(memory, "_run_vm_stat", lambda: subprocess.run(["/nonexistent"], check=True))
    with pytest.raises(EngineError, match=f"how much memory is left on this system \\({platform}\\)"):
        memory.host_memory_left(platform)


@pytest.mark.parametrize("text", ["", "page size of 16384 bytes"])
def test_a_strange_vm_stat_is_refused(text):
    with pytest.raises(KeyError):
        memory.parse_vm_stat(text)


@pytest.mark.skipif(sys.platform != "win32", reason="Windows only")
def test_windows_answers():
    assert memory.host_memory_left("win32") > 2**20


@pytest.mark.cuda
def test_a_gpu_tells_its_own_memory():
    before = memory.available_memory("cuda")
    block = torch.empty(2**28, dtype=torch.uint8, device="cuda")
    assert before - memory.available_memory("cuda") >= len(block)
