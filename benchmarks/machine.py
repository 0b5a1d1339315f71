"""What a figure was measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path


def machine(*packages: str, num_threads: int | None = None) -> str:
    """Returns the processor, the threads (by default its cores), and the versions of Python, torch and other packages.

    Args:
        packages: Names of those others.
        num_threads: Threads that were used.
    """
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", *packages))
    threads = f"{_cores()} cores" if num_threads is None else f"{num_threads} threads"
    return f"{_processor()}, {threads}, Python {platform.python_version()}, {versions}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
