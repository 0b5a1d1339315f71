import os

import pytest
import torch

from vllm_local.errors import InvalidConfigError
from vllm_local.worker import device
from vllm_local.worker.control_group import ControlGroups


@pytest.fixture
def machine(monkeypatch):
    """Pretends to be a machine with the given devices and limits."""

    def pretend(*, cuda=False, mps=False, cores=8, quota=None, wish=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(device, "_num_affine_cores", lambda: cores)
        monkeypatch.setattr(ControlGroups, "cpu_quota", lambda self: quota)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if wish is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", wish)

    return pretend


@pytest.mark.parametrize(
    ("present", "expected"),
    [({}, "cpu"), ({"mps": True}, "cpu"), ({"cuda": True}, "cuda"), ({"cuda": True, "mps": True}, "cuda")],
)
def test_auto_takes_cuda_or_the_cores(machine, present, expected):
    machine(**present)
    assert device.resolve_device("auto") == expected


def test_a_device_that_is_there_is_taken(machine):
    machine(cuda=True, mps=True)
    assert [device.resolve_device(name) for name in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "mps"]


@pytest.mark.parametrize("name", ["cuda", "mps", "tpu"])
def test_a_device_that_is_not_there_is_an_error(machine, name):
    machine()
    with pytest.raises(InvalidConfigError, match=f"device='{name}' is not available .* finds: cpu"):
        device.resolve_device(name)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"cores": 6}, 6),
        ({"cores": 6, "quota": 3.9}, 3),
        ({"cores": 6, "quota": 0.5}, 1),
        ({"cores": 2, "quota": 16.0}, 2),
        ({"cores": 6, "wish": "4"}, 4),
        ({"cores": 2, "wish": "4"}, 2),
        ({"cores": 6, "wish": "4,2"}, 4),
        ({"cores": 6, "wish": "many"}, 6),
        ({"cores": 6, "wish": "0"}, 1),
    ],
)
def test_threads_are_the_cores_that_may_be_used(machine, limits, expected):
    machine(**limits)
    assert device.default_num_threads(device.TINY_MODEL_BYTES) == expected


def test_a_tiny_model_computes_on_one_thread(machine):
    machine(cores=6)
    assert device.default_num_threads(device.TINY_MODEL_BYTES - 1) == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_affinity_counts():
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    try:
        assert device._num_affine_cores() == 1
    finally:
        os.sched_setaffinity(0, mine)
