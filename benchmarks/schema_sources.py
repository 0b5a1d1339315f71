"""The schemas that benchmarks/json_schema.py measures: two fixed lists, fetched from PyPI once.

- The JSON-Schema-Test-Suite, as the sdist of `jsonschema` carries it.
- Schemas as programs send them: classes of published packages, by name in real_schemas.json, and tools in
  tool_schemas.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_local.structured_output.schema_keywords import FORMATS

HERE = Path(__file__).parent
CACHE = HERE / ".schemas"
SUITE = "jsonschema==4.26.0"
DRAFTS = {"draft2020-12": "draft 2020-12", "draft7": "draft 7"}
"""The suite's folders that are read, and what they are called."""
_PRINT_SCHEMAS = """
import importlib, json, sys
classes = (name.partition(":") for name in json.load(sys.stdin))
schemas = [getattr(importlib.import_module(module), name).model_json_schema() for module, _, name in classes]
json.dump(schemas, sys.stdout)
"""
"""Runs among the packages alone, so that they are the pinned ones."""


@dataclass(frozen=True)
class Instance:
    """A value that the suite has judged.

    Attributes:
        description: What it shows.
        value: The value.
        is_valid: Whether it fits its schema.
    """

    description: str
    value: Any
    is_valid: bool


@dataclass(frozen=True)
class Entry:
    """One schema of a list.

    Attributes:
        source: The list: a draft of the suite, or "real".
        group: The keyword that a schema of the suite is about, or the package that a real one is from.
        name: Names it inside of its group.
        schema: The schema.
        instances: Values that it was judged by.
    """

    source: str
    group: str
    name: str
    schema: Any
    instances: tuple[Instance, ...] = ()


def suite_schemas(folder: Path | None = None) -> Iterator[Entry]:
    """Yields the schemas of the suite, those about `format` as far as the grammar enforces the format.

    Args:
        folder: A checkout of the suite; by default the pinned one is fetched.
    """
    root = (folder or _fetch_suite()) / "tests"
    for draft, source in DRAFTS.items():
        formats = [root / draft / "optional" / "format" / f"{name}.json" for name in sorted(FORMATS)]
        for path in (*sorted((root / draft).glob("*.json")), *filter(Path.exists, formats)):
            group = f"format {path.stem}" if path in formats else path.stem
            for case in json.loads(path.read_text(encoding="utf-8")):
                instances = (Instance(test["description"], test["data"], test["valid"]) for test in case["tests"])
                yield Entry(source, group, case["description"], case["schema"], tuple(instances))


def real_schemas() -> Iterator[Entry]:
    """Yields the real-world schemas, in the order of their lists."""
    for tool in json.loads((HERE / "tool_schemas.json").read_text(encoding="utf-8")):
        yield Entry("real", "hand-written", tool["name"], tool["parameters"])
    fixed = json.loads((HERE / "real_schemas.json").read_text(encoding="utf-8"))
    kept = CACHE / f"real-{_digest(fixed)}.json"
    if not kept.exists():
        kept.write_bytes(_schemas_of(fixed["classes"], _fetch_packages(fixed["packages"])))
    for name, schema in zip(fixed["classes"], json.loads(kept.read_bytes()), strict=True):
        yield Entry("real", name.partition(":")[0].partition(".")[0], name, schema)


def _schemas_of(classes: list[str], packages: Path) -> bytes:
    """Returns the JSON schemas of Pydantic classes, named `module:Class`, as a list in JSON."""
    environment = {**os.environ, "PYTHONPATH": str(packages), "PYTHONWARNINGS": "ignore"}
    names = json.dumps(classes).encode()
    command = [sys.executable, "-c", _PRINT_SCHEMAS]
    return subprocess.run(command, env=environment, check=True, input=names, stdout=subprocess.PIPE).stdout


def _fetch_suite() -> Path:
    folder = CACHE / SUITE
    if not folder.exists():
        unpacked = _emptied(CACHE / "suite.tmp")
        package = SUITE.partition("==")[0]
        _pip("download", "--no-deps", "--no-binary", package, "--dest", str(unpacked), SUITE)
        with tarfile.open(next(unpacked.glob("*.tar.gz"))) as archive:
            archive.extractall(unpacked, filter="data")
        next(unpacked.glob("*/json")).rename(folder)
        shutil.rmtree(unpacked)
    return folder


def _fetch_packages(requirements: list[str]) -> Path:
    """Installs packages beside this environment, so that neither changes the other."""
    folder = CACHE / f"packages-{_digest(requirements)}"
    if not folder.exists():
        unfinished = _emptied(folder.with_suffix(".tmp"))
        _pip("install", "--only-binary", ":all:", "--target", str(unfinished), *requirements)
        unfinished.rename(folder)
    return folder


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)
