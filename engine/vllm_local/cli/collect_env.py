"""`vllm-local collect-env`: what a bug report should say of the machine and the installation."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from vllm_local.cli.command_line import read_command_line
from vllm_local.errors import EngineError

_SUMMARY = "Describes this machine and installation, for a bug report; keys and tokens are left out."
_PACKAGES = (
    "langchain-vllm-local",
    "torch",
    "numpy",
    "safetensors",
    "tokenizers",
    "transformers",
    "huggingface-hub",
    "langchain-core",
    "langchain-openai",
    "openai",
    "fastapi",
    "uvicorn",
    "pydantic",
    "prometheus-client",
    "httpx",
    "typer",
    "rich",
)
_VARIABLES = ("CUDA_", "HF_", "KMP_", "MKL_", "OMP_", "PYTORCH_", "TORCH_", "VLLM_")
_SECRETS = ("TOKEN", "KEY", "SECRET", "PASSWORD")
_INSTRUCTIONS = frozenset(
    {"avx", "avx2", "f16c", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni"}  # x86
    | {"amx_tile", "amx_int8", "amx_bf16"}
    | {"asimd", "sve", "i8mm", "bf16"}  # ARM
)
_WIDTH = 30


def run(arguments: list[str]) -> None:
    """Writes a description of everything that answers may depend on."""
    read_command_line("collect-env", "", _SUMMARY, (), arguments)
    for title, entries in sections().items():
        typer.echo(f"{'=' * _WIDTH}\n{title:^{_WIDTH}}\n{'=' * _WIDTH}")
        for name, value in entries.items():
            typer.echo(f"{name:<28} : {value}")
        typer.echo()


def sections() -> dict[str, Mapping[str, str]]:
    """Returns the description, by heading."""
    return {
        "System Info": _system(),
        "CPU Info": _cpu(),
        "PyTorch Info": _torch(),
        "Versions": dict(_versions()),
        "Environment Variables": dict(_variables(os.environ)),
    }


def _system() -> dict[str, str]:
    return {
        "OS": platform.platform(),
        "Libc version": "-".join(platform.libc_ver()) or "unknown",
        "Python version": sys.version.replace("\n", " "),
        "Python platform": platform.machine(),
        "Memory left": _memory_left(),
    }


def _memory_left() -> str:
    from vllm_local.worker.memory import host_memory_left

    try:
        return f"{host_memory_left() / 2**30:.1f} GiB (the control group's limit counts)"
    except EngineError as error:
        return str(error)


def _cpu() -> dict[str, str]:
    model, flags = _read_cpuinfo(Path("/proc/cpuinfo"))
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "Model": model or platform.processor() or "unknown",
        "Cores": str(os.cpu_count()),
        "Cores of this process": str(len(affinity(0)) if affinity else os.cpu_count()),
        "Instruction sets": " ".join(sorted(_INSTRUCTIONS & flags)) or "unknown",
    }


def _read_cpuinfo(path: Path) -> tuple[str, frozenset[str]]:
    """Returns the processor's name and its instruction sets, where the system has such a file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "", frozenset()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return fields.get("model name", ""), frozenset(fields.get("flags", fields.get("Features", "")).split())


def _torch() -> dict[str, str]:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        return {"PyTorch": f"cannot be imported: {error}"}
    has_cuda = torch.cuda.is_available()
    return {
        "PyTorch version": torch.__version__,
        "Built for CUDA": str(torch.version.cuda),
        "CUDA devices": ", ".join(map(torch.cuda.get_device_name, range(torch.cuda.device_count())))
        if has_cuda
        else "none",
        "CPU capability": torch.backends.cpu.get_cpu_capability(),
        "Threads": str(torch.get_num_threads()),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in sorted(environment.items()):
        if name.startswith(_VARIABLES):
            yield name, "***" if any(word in name for word in _SECRETS) else value
