"""Memory that is really left for this process."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import torch

from vllm_local.errors import EngineError
from vllm_local.worker.control_group import ControlGroups


def available_memory(device: str, reserved: int = 0) -> int:
    """Returns the bytes that a device has left for this process.

    On Linux: what the system calls available, or what the process's control groups leave if that is less. On macOS and
    Windows: what the system could hand out without swapping. A GPU with memory of its own: what is free there.

    Args:
        device: "cpu", "cuda" or "mps".
        reserved: Bytes of main memory that were promised to others who have not taken them yet.

    Raises:
        EngineError: The system does not say.
    """
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    if device == "mps":
        left = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return max(0, min(left, host_memory_left() - reserved))
    return max(0, host_memory_left() - reserved)


def host_memory_left(platform: str = sys.platform) -> int:
    """Returns the bytes of main memory that are left for this process.

    Args:
        platform: As in `sys.platform`.

    Raises:
        EngineError: The system does not say.
    """
    try:
        if platform == "darwin":
            return parse_vm_stat(_run_vm_stat())
        if platform == "win32":
            return _windows_memory_left()
        left = parse_meminfo(Path("/proc/meminfo").read_text(encoding="ascii"))
    except (OSError, subprocess.SubprocessError, KeyError, AttributeError) as error:
        message = (
            f"Cannot find out how much memory is left on this system ({platform}): {error!r}. "
            "Please report this; the engine needs it to size its KV cache."
        )
        raise EngineError(message) from error
    limit = ControlGroups().memory_left()
    return left if limit is None else min(left, limit)


def parse_meminfo(text: str) -> int:
    """Returns the available bytes in Linux's /proc/meminfo.

    Raises:
        KeyError: It has no such entry.
    """
    entries = dict(re.findall(r"^(\w+):\s+(\d+) kB$", text, flags=re.MULTILINE))
    return int(entries["MemAvailable"]) * 1024


def parse_vm_stat(text: str) -> int:
    """Returns the bytes that macOS can hand out without swapping: its free, inactive and purgeable pages.

    Args:
        text: What `vm_stat` prints.

    Raises:
        KeyError: It has no such entries.
    """
    entries = dict(re.findall(r"^(Pages \w+):\s+(\d+)\.$", text, flags=re.MULTILINE))
    page_size = re.search(r"page size of (\d+) bytes", text)
    if page_size is None:
        raise KeyError("page size")
    return int(page_size[1]) * sum(int(entries[f"Pages {kind}"]) for kind in ("free", "inactive", "purgeable"))


def _run_vm_stat() -> str:
    return subprocess.run(["/usr/bin/vm_stat"], capture_output=True, check=True, text=True, timeout=10).stdout


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("memory_load", ctypes.c_uint32),
        ("total_physical", ctypes.c_uint64),
        ("available_physical", ctypes.c_uint64),
        ("total_page_file", ctypes.c_uint64),
        ("available_page_file", ctypes.c_uint64),
        ("total_virtual", ctypes.c_uint64),
        ("available_virtual", ctypes.c_uint64),
        ("available_extended_virtual", ctypes.c_uint64),
    )


def _windows_memory_left() -> int:
    status = _MemoryStatus()
    status.length = ctypes.sizeof(status)
    # Looked up by name: mypy and other systems know no `ctypes.windll`.
    kernel32 = getattr(ctypes, "windll").kernel32  # noqa: B009
    if not kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        raise OSError("GlobalMemoryStatusEx failed")
    # What may be committed can be less than what is free.
    return min(int(status.available_physical), int(status.available_page_file))
