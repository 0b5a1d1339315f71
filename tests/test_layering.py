"""Who may import whom. The table is docs/design.md's, word for word."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import langchain_vllm_local
import vllm_local

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"vllm_local": ROOT / "engine" / "vllm_local", "langchain_vllm_local": ROOT / "langchain_vllm_local"}

# ► means: may import anything to its right.
LAYERS = """
langchain_vllm_local    ► vllm_local, async_llm, llm, chat
cli                     ► server, vllm_local, async_llm, llm, engine_loading
cli                     ► input_processor, tokenizer, worker, default_logging
vllm_local              ► async_llm, llm
server                  ► vllm_local, async_llm, request_stream, engine_stats, default_logging, chat
llm                     ► async_llm, batch_progress
async_llm, llm          ► engine_loading, engine_thread, engine_registry, request_stream ► llm_engine, input_processor
async_llm, llm          ► llm_engine, chat, tokenizer, starter
engine_loading          ► sampling_defaults, default_logging, chat, starter, worker, models, core
async_llm, engine_loading, engine_thread, llm_engine ► output_processor
async_llm, engine_thread, request_stream, llm_engine, input_processor, output_processor ► output_collector
async_llm, engine_thread, llm_engine, output_processor ► engine_stats
llm_engine              ► worker, sampling, structured_output, core, tokenizer
engine_loading, sampling_defaults, input_processor, output_processor ► tokenizer
worker                  ► models ► layers ► kernels
worker                  ► sampling ► kernels
langchain_vllm_local, server, llm, input_processor ► structured_output
chat, structured_output ► tokenizer
"""
BOTTOM = [
    "errors",
    "config",
    "grammar_spec",
    "structured_outputs_params",
    "thinking_budget",
    "sampling_params",
    "request",
    "outputs",
    "step_io",
    "loopback",
]

# Scripts that run on top of the engine; nothing imports them.
SCRIPTS = (
    "engine/vllm_local/starter/evaluate.py",
    "engine/vllm_local/starter/train.py",
    "engine/vllm_local/starter/transcripts.py",
    "engine/vllm_local/__main__.py",
)

TORCH_FREE = ["langchain_vllm_local", "vllm_local", "cli", "chat", "core", *BOTTOM]


class Import(NamedTuple):
    """One imported module, and where."""

    unit: str  # the importing layer
    module: str  # dotted, absolute
    where: str  # file:line


def parse_layers() -> dict[str, set[str]]:
    """What each layer may import, the bottom aside."""
    allowed: dict[str, set[str]] = {name: set() for name in BOTTOM}
    for line in LAYERS.strip().splitlines():
        cells = [[name.strip() for name in cell.split(",")] for cell in line.split("►")]
        for i, cell in enumerate(cells):
            for name in cell:
                allowed.setdefault(name, set()).update(*cells[i + 1 :])
    return allowed


def unit_of(module: str) -> str:
    """The layer of a module of ours: `vllm_local.core.scheduler` is in `core`."""
    package, _, rest = module.partition(".")
    if package == "langchain_vllm_local" or not rest or rest == "__main__":
        return package
    return rest.partition(".")[0]


def sources() -> Iterator[tuple[str, Path]]:
    """Every module of both packages, with its file."""
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), path


def absolute(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    """The module that `from … import` names, dots resolved."""
    parents = module.split(".")[: None if is_package else -1]
    parents = parents[: len(parents) - max(node.level - 1, 0)] if node.level else []
    return ".".join([*parents, *([node.module] if node.module else [])])


def imports() -> Iterator[Import]:
    """Every import statement of both packages, inside functions and TYPE_CHECKING too."""
    modules = {module for module, _ in sources()}
    for module, path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = absolute(node, module, is_package=path.name == "__init__.py")
                deeper = [f"{base}.{alias.name}" for alias in node.names]
                names = [name if name in modules else base for name in deeper]
            else:
                continue
            for name in dict.fromkeys(names):
                yield Import(unit_of(module), name, f"{path.relative_to(ROOT)}:{node.lineno}")


IMPORTS = list(imports())
OURS = [item for item in IMPORTS if item.module.partition(".")[0] in PACKAGES]
THEIRS = [item for item in IMPORTS if item.module.partition(".")[0] not in {*PACKAGES, *sys.stdlib_module_names}]


def test_every_module_has_a_layer():
    strays = {unit_of(module) for module, _ in sources()} - set(parse_layers())
    assert not strays, f"put {sorted(strays)} in LAYERS here and in docs/design.md"


def test_the_design_page_draws_the_same_table():
    assert LAYERS in (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


def test_imports_point_to_the_right():
    allowed = parse_layers()
    wrong = [
        f"{item.where}: {item.unit} must not import {item.module}"
        for item in OURS
        if (target := unit_of(item.module)) != item.unit
        and target not in {*allowed[item.unit], *BOTTOM}
        and not item.where.startswith(SCRIPTS)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_integration_uses_public_names_only():
    wrong = [
        f"{item.where}: {item.module} is private"
        for item in OURS
        if item.unit == "langchain_vllm_local"
        and item.module.startswith("vllm_local")
        and any(part.startswith("_") for part in item.module.split("."))
    ]
    assert not wrong, "\n".join(wrong)


def test_policy_names_no_torch():
    wrong = [
        f"{item.where}: {item.unit} must not import torch"
        for item in THEIRS
        if item.unit in TORCH_FREE and item.module.partition(".")[0] == "torch"
    ]
    assert not wrong, "\n".join(wrong)


def test_policy_loads_no_torch():
    modules = [module for module, _ in sources() if unit_of(module) in TORCH_FREE and not module.endswith("__main__")]
    code = f"import sys, {', '.join(modules)}\nsys.exit('torch' in sys.modules and 'torch was imported')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_third_party_imports_are_declared():
    distributions = packages_distributions()
    wrong = [
        f"{item.where}: {item.module} is not in pyproject.toml"
        for item in THEIRS
        if declared_for(item.unit).isdisjoint(
            map(canonicalize_name, distributions.get(item.module.partition(".")[0], []))
        )
    ]
    assert not wrong, "\n".join(wrong)


@functools.cache
def declared_for(unit: str) -> set[str]:
    """The dependencies that a layer may count on: only training needs an extra."""
    extra = {"extra": "train" if unit == "starter" else ""}
    requirements = map(Requirement, requires("langchain-vllm-local") or [])
    return {canonicalize_name(item.name) for item in requirements if not item.marker or item.marker.evaluate(extra)}


@pytest.mark.parametrize(
    ("package", "names"),
    [
        (
            vllm_local,
            [
                "LLM",
                "AsyncLLM",
                "CompletionOutput",
                "EngineConfig",
                "Logprob",
                "RequestOutput",
                "RequestOutputKind",
                "SamplingParams",
                "__version__",
            ],
        ),
        (langchain_vllm_local, ["ChatVLLMLocal", "__version__", "register_init_chat_model"]),
    ],
    ids=["vllm_local", "langchain_vllm_local"],
)
def test_public_names(package, names):
    assert sorted(package.__all__) == sorted(names)
    assert all(hasattr(package, name) for name in names)
