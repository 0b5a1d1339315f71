"""What a user installs: the wheel and the sdist, in an empty environment outside the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SMOKE = """
import sys
import langchain_vllm_local, vllm_local
assert "torch" not in sys.modules
assert "site-packages" in vllm_local.__file__, vllm_local.__file__
from langchain_vllm_local import ChatVLLMLocal
print(ChatVLLMLocal(max_tokens=4, temperature=0).invoke("Hello!").text)
"""


LIBRARY = "vllm_local/kernels/cpu/libvllm_local_kernels"


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    # A clean environment: the suite's own settings and this process's paths stay out.
    ours = ("PYTHON", "VLLM_LOCAL")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | variables
    result = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def distributions(repository, tmp_path_factory):
    """A folder with the wheel and the sdist, the wheel built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, repository, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(distributions):
    (path,) = distributions.glob("*.whl")
    return path


def test_one_wheel_serves_every_python(wheel):
    python, abi, _platform = wheel.stem.split("-")[-3:]
    assert (python, abi) == ("py3", "none")


def test_the_wheel_holds_both_packages_and_the_starter_model(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "langchain_vllm_local",
        "vllm_local",
    }
    assert {"langchain_vllm_local/py.typed", "vllm_local/py.typed"} <= set(names)
    model = {name.rpartition("/")[2] for name in names if name.startswith("vllm_local/starter/model/")}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= model


def test_the_wheel_holds_the_native_library_and_not_its_source(wheel):
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.startswith(LIBRARY) for name in names)
    assert not [name for name in names if "/native/" in name]


def test_without_a_compiler_the_wheel_is_pure_python(distributions, tmp_path):
    (source,) = distributions.glob("*.tar.gz")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, source]
    run(*command, cwd=tmp_path, CXX="/nowhere/c++")
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stem.endswith("-py3-none-any")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(LIBRARY)]


@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"])
def test_installs_in_an_empty_environment(pattern, distributions, repository, tmp_path):
    (distribution,) = distributions.glob(pattern)
    run(sys.executable, "-m", "venv", "venv", cwd=tmp_path)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "-q", "-c", repository / "constraints.txt", distribution, cwd=tmp_path)
    assert run(python, "-c", SMOKE, cwd=tmp_path).strip()
    version = run(python, "-c", "import vllm_local; print(vllm_local.__version__)", cwd=tmp_path)
    assert run(python.parent / "vllm-local", "--version", cwd=tmp_path) == version
