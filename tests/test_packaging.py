"""What a user installs: wheels and the sdist, in an empty environment outside the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIBRARY = "vllm_local/kernels/cpu/libvllm_local_kernels"

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Returns what a command prints."""
    return run_verbosely(*command, cwd=cwd, **variables).stdout


def run_verbosely(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    # A clean environment: the suite's own settings and this process's paths stay out.
    ours = ("PYTHON", "VLLM_LOCAL")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | variables
    result = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result


@pytest.fixture(scope="module")
def distributions(repository, tmp_path_factory):
    """A folder with the wheel and the sdist, the wheel built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, repository, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(distributions):
    """This platform's wheel."""
    (path,) = distributions.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def pure_wheel(distributions, tmp_path_factory):
    """The wheel for every platform, from the sdist, as docs/kernels.md says."""
    (source,) = distributions.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("pure")
    run(*PIP, "wheel", "-q", "--no-deps", "-w", folder, "-C", "wheel.cmake=false", source, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def names_in(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


def python_of(environment: Path) -> Path:
    return environment / ("Scripts" if os.name == "nt" else "bin") / "python"


def install_beside(wheel: Path, folder: Path) -> Path:
    """Installs a wheel alone into a new environment, which borrows all else from this one; returns its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
    python = python_of(folder / "venv")
    run(*PIP, "--python", python, "install", "-q", "--no-deps", wheel, cwd=folder)
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    # Paths from a .pth file come last, and .pth files there are not read: an editable installation stays out.
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    Path(packages, "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")
    return python


def test_one_wheel_serves_every_python(wheel, pure_wheel):
    python, abi, _platform = wheel.stem.split("-")[-3:]
    assert (python, abi) == ("py3", "none")
    assert pure_wheel.stem.split("-")[-3:] == ["py3", "none", "any"]


@pytest.mark.parametrize("kind", ["wheel", "pure_wheel"])
def test_the_wheel_holds_both_packages_and_the_starter_model(kind, request):
    names = names_in(request.getfixturevalue(kind))
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "langchain_vllm_local",
        "vllm_local",
    }
    assert {"langchain_vllm_local/py.typed", "vllm_local/py.typed"} <= set(names)
    model = {name.rpartition("/")[2] for name in names if name.startswith("vllm_local/starter/model/")}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= model


@needs_compiler
def test_the_native_library_is_all_that_sets_the_wheels_apart(wheel, pure_wheel):
    (library,) = set(names_in(wheel)) - set(names_in(pure_wheel))
    assert library.startswith(LIBRARY)
    assert set(names_in(pure_wheel)) < set(names_in(wheel))
    assert not [name for name in names_in(wheel) if "/native/" in name]


def test_without_a_compiler_the_wheel_is_pure_python(distributions, pure_wheel, tmp_path):
    (source,) = distributions.glob("*.tar.gz")
    run(*PIP, "wheel", "-q", "--no-deps", "-w", tmp_path, source, cwd=tmp_path, CXX="/nowhere/c++")
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == pure_wheel.name
    assert names_in(wheel) == names_in(pure_wheel)


@needs_compiler
def test_the_platform_wheel_answers_with_its_kernels(wheel, repository, tmp_path):
    python = install_beside(wheel, tmp_path)
    said = run(python, repository / "tests" / "wheel_smoke.py", cwd=tmp_path, VLLM_LOCAL_KERNELS="native")
    assert said.startswith("native kernels, ")


def test_the_pure_wheel_answers_and_says_once_how_to_be_faster(pure_wheel, repository, tmp_path):
    python = install_beside(pure_wheel, tmp_path)
    result = run_verbosely(python, repository / "tests" / "wheel_smoke.py", cwd=tmp_path)
    assert result.stdout.startswith("torch's operators")
    assert result.stderr.count("no native kernels") == result.stderr.count("--no-binary") == 1


@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"])
def test_installs_in_an_empty_environment(pattern, distributions, repository, tmp_path):
    (distribution,) = distributions.glob(pattern)
    run(sys.executable, "-m", "venv", "venv", cwd=tmp_path)
    python = python_of(tmp_path / "venv")
    run(python, "-m", "pip", "install", "-q", "-c", repository / "constraints.txt", distribution, cwd=tmp_path)
    assert run(python, repository / "tests" / "wheel_smoke.py", cwd=tmp_path)
    version = run(python, "-c", "import vllm_local; print(vllm_local.__version__)", cwd=tmp_path)
    assert run(python.parent / "vllm-local", "--version", cwd=tmp_path) == version
