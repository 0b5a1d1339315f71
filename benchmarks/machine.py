"""What a figure was measured on."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

import torch


def machine(*packages: str, num_threads: int | None = None) -> str:
    """Returns the processor, the threads (by default torch's), and the versions of Python, torch and other packages."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", *packages))
    threads = f"{num_threads or torch.get_num_threads()} threads"
    return f"{_processor()}, {threads}, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
