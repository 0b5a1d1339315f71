"""Where the model runs, and on how many threads."""

from __future__ import annotations

import os

import torch

from vllm_local.errors import InvalidConfigError
from vllm_local.worker.control_group import ControlGroups

TINY_MODEL_BYTES = 32 * 2**20
"""A model with fewer bytes of weights computes on one thread: its steps are too short to be worth sharing."""


def resolve_device(name: str) -> str:
    """Returns the device that a name stands for on this machine.

    Args:
        name: "cpu", "cuda", "mps", or "auto": cuda if it is there, else cpu. Apple's mps only by its name, as it has
            not been measured yet.

    Raises:
        InvalidConfigError: The device is not there.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return "cuda" if present["cuda"] else "cpu"
    if not present.get(name, False):
        choices = ", ".join(device for device, is_present in present.items() if is_present)
        message = f"device={name!r} is not available on this machine (torch {torch.__version__} finds: {choices})."
        raise InvalidConfigError(message)
    return name


def default_num_threads(weight_bytes: int) -> int:
    """Returns how many threads should compute: the cores that this process may use, or one for a tiny model.

    The least of its CPU affinity, its control groups' CPU quota (rounded down: a thread too many makes all the others
    wait for it) and OMP_NUM_THREADS, where set.

    Args:
        weight_bytes: Size of the model.
    """
    # Where other programs run too, threads that spin while they wait for each other cost such a model far more than
    # they compute for it.
    if weight_bytes < TINY_MODEL_BYTES:
        return 1
    limits = [float(_num_affine_cores())]
    quota = ControlGroups().cpu_quota()
    if quota is not None:
        limits.append(quota)
    wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if wish.isdigit():
        limits.append(float(wish))
    return max(1, int(min(limits)))


def _num_affine_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
