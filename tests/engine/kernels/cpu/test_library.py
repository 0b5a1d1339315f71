"""Finding and loading the library."""

import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from vllm_local.errors import InvalidConfigError
from vllm_local.kernels.cpu import library as module
from vllm_local.kernels.cpu.backend import NativeKernels
from vllm_local.kernels.cpu.library import ISA_VARIABLE, LIBRARY_VARIABLE, NativeLibrary, load_library

needs_library = pytest.mark.skipif(load_library() is None, reason="the native library was not built")


@pytest.fixture
def _loaded_anew() -> Iterator[None]:
    before = load_library()
    isa = None if before is None else before.isa
    load_library.cache_clear()
    yield
    load_library.cache_clear()
    if before is not None and isa is not None:
        before.use_isa(isa)


@pytest.mark.usefixtures("_loaded_anew")
def test_a_file_that_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    broken = tmp_path / "broken.so"
    broken.write_text("not a library")
    monkeypatch.setenv(LIBRARY_VARIABLE, str(broken))
    with caplog.at_level(logging.WARNING, logger="vllm_local"):
        assert load_library() is None
    assert "broken.so" in caplog.text


@needs_library
@pytest.mark.usefixtures("_loaded_anew")
def test_a_library_of_another_version(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(module, "API_VERSION", module.API_VERSION + 1)
    with caplog.at_level(logging.WARNING, logger="vllm_local"):
        assert load_library() is None
    assert "reinstall" in caplog.text


@needs_library
@pytest.mark.usefixtures("_loaded_anew")
def test_the_environment_names_the_instruction_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(ISA_VARIABLE, "portable")
    loaded = load_library()
    assert loaded is not None
    assert loaded.isa == "portable"


def test_an_instruction_set_that_is_not_there(library: NativeLibrary):
    with pytest.raises(InvalidConfigError, match="'mmx'"):
        library.use_isa("mmx")


_CPU_FLAGS = {"avx2": {"avx2", "fma", "f16c"}}
_CPU_FLAGS["avx512"] = _CPU_FLAGS["avx2"] | {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
_CPU_FLAGS["avx512_bf16"] = _CPU_FLAGS["avx512"] | {"avx512_bf16"}


@needs_library
@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="reads Linux's list for x86")
@pytest.mark.parametrize("name", _CPU_FLAGS)
def test_the_machines_instruction_sets_are_those_that_the_system_lists(name: str) -> None:
    library = load_library()
    assert library is not None
    (line, *_) = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")]
    before = library.isa
    try:
        library.use_isa(name)
    except InvalidConfigError:
        found = False
    else:
        found = True
    library.use_isa(before)
    assert found == (set(line.split()) >= _CPU_FLAGS[name])


@needs_library
def test_every_process_chooses_the_same_instruction_set():
    choose = "from vllm_local.kernels.cpu.library import load_library; print(load_library().isa)"
    environment = {name: value for name, value in os.environ.items() if name != ISA_VARIABLE}
    command = [sys.executable, "-c", choose]
    chosen = {subprocess.run(command, env=environment, check=True, capture_output=True).stdout for _ in range(5)}
    assert len(chosen) == 1


_FORK = """
import os, sys, torch
from vllm_local.kernels.cpu import NativeKernels, load_library

library = load_library()
library.set_num_threads(4)
kernels = NativeKernels(torch.float32, library)
linear = kernels.pack_linear([torch.randn(300, 64)])
rows = torch.randn(40, 64)
expected = kernels.linear(rows, linear)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(kernels.linear(rows, linear), expected) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@needs_library
def test_a_forked_child_computes_on_threads_of_its_own():
    subprocess.run([sys.executable, "-W", "ignore", "-c", _FORK], check=True, timeout=60)


def test_threads_are_the_callers_own(library: NativeLibrary):
    from concurrent.futures import ThreadPoolExecutor

    kernels = NativeKernels(torch.float32, library)
    rows, weights = torch.randn(30, 64), [torch.randn(200, 64) for _ in range(4)]
    packed = [kernels.pack_linear([weight]) for weight in weights]
    expected = [kernels.linear(rows, linear) for linear in packed]

    def run(index: int) -> bool:
        library.set_num_threads(index + 1)
        return all(torch.equal(kernels.linear(rows, packed[index]), expected[index]) for _ in range(200))

    with ThreadPoolExecutor(4) as executor:
        assert list(executor.map(run, range(4))) == [True] * 4
    assert library.num_threads == 1
