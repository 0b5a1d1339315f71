"""What Linux control groups (containers, systemd slices, batch systems) leave to this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

_UNLIMITED = 2**60
"""Version 1 writes "no limit" as the largest number of whole pages."""


class ControlGroups:
    """Reads the limits of the groups that this process is in and of all groups around them.

    Both versions are read, and both at once where a system mixes them. Files: the kernel's
    Documentation/admin-guide/cgroup-v2.rst (memory.max, memory.current, memory.stat, cpu.max) and cgroup-v1/memory.rst
    (memory.limit_in_bytes, …). What cannot be read limits nothing.
    """

    def __init__(self, proc: Path = Path("/proc"), root: Path = Path("/sys/fs/cgroup")) -> None:
        """Takes the folders that Linux mounts them at, or others for tests."""
        self._proc = proc
        self._root = root

    def memory_left(self) -> int | None:
        """Returns the bytes that the tightest group leaves, or None where none limits memory.

        File cache that was not used lately counts as free: the kernel takes it back before it refuses anything.
        """
        left = self._tightest(_memory_left_v2, "memory", _memory_left_v1)
        return None if left is None else int(left)

    def cpu_quota(self) -> float | None:
        """Returns how many cores' time the tightest group grants, or None where none limits it."""
        return self._tightest(_cpu_quota_v2, "cpu", _cpu_quota_v1)

    def _tightest(
        self,
        read_v2: Callable[[Path], float | None],
        controller: str,
        read_v1: Callable[[Path], float | None],
    ) -> float | None:
        found = [read_v2(folder) for folder in self._folders("", "")]
        found += [read_v2(folder) for folder in self._folders("", "unified")]
        found += [read_v1(folder) for folder in self._folders(controller, controller)]
        return min((value for value in found if value is not None), default=None)

    def _folders(self, controller: str, mount: str) -> Iterator[Path]:
        """Yields this process's group and those around it, innermost first.

        Inside a container the path may be that of the host; then only the container's own root is there to be read.
        """
        top = self._root / mount
        for line in _read(self._proc / "self" / "cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                folder = top / path.lstrip("/")
                yield from (item for item in (folder, *folder.parents) if item == top or top in item.parents)


def _memory_left_v2(folder: Path) -> int | None:
    return _memory_left(folder, "memory.max", "memory.current", "inactive_file")


def _memory_left_v1(folder: Path) -> int | None:
    return _memory_left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _memory_left(folder: Path, limit_file: str, usage_file: str, cache_entry: str) -> int | None:
    limit = _read_integer(folder / limit_file)
    usage = _read_integer(folder / usage_file)
    if limit is None or usage is None or limit >= _UNLIMITED:
        return None
    entries = dict(line.split(maxsplit=1) for line in _read(folder / "memory.stat").splitlines())
    reclaimable = int(entries.get(cache_entry, 0))
    return max(0, limit - max(0, usage - reclaimable))


def _cpu_quota_v2(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() else None


def _cpu_quota_v1(folder: Path) -> float | None:
    quota = _read_integer(folder / "cpu.cfs_quota_us")
    period = _read_integer(folder / "cpu.cfs_period_us")
    return quota / period if quota is not None and period and quota > 0 else None


def _read_integer(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text.lstrip("-").isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return ""
