"""The server beside the model: how soon it is healthy, what memory it keeps, what share of the CPU HTTP takes.

Usage: python benchmarks/server.py [--rounds 5] [--output benchmarks/results] [--cpu-model FOLDER]

- start: `vllm-local serve` on the starter model, from the call to the first 200 of /health.
- memory: private memory of that process once it has answered 64 streams, beside weights and KV cache.
- health: answers of /health while 64 streams run.
- cpu: 16 streams on Qwen2.5-0.5B's configuration; CPU seconds of the threads that speak HTTP and JSON, render and
  tokenise, and detokenise, each as a share of all of the process; what is left is the model's.

Clients run in processes of their own. Memory and threads are read from /proc: Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from models import bench_model
from rich.console import Console
from rich.table import Table

from vllm_local.async_llm import AsyncLLM
from vllm_local.config import STARTER_MODEL_NAME, EngineConfig
from vllm_local.server.app import create_app
from vllm_local.server.run import Server, address_of, bind
from vllm_local.server.settings import ServerSettings
from vllm_local.starter import starter_path

CACHE_BYTES = 64 * 2**20
TARGETS = {"start, s": 5.0, "memory beyond weights and KV cache, MB": 400.0, "health p99, s": 2.0, "cpu share, %": 10.0}
_COMPONENTS = {"HTTP and JSON": "http", "templates and tokenising": "vllm-local input", "detokenising": " output"}
"""What is in a thread's name, by what the thread does."""
_MODEL_THREAD = " engine"


def main() -> None:
    """Measures, prints a table and writes the figures."""
    arguments = _arguments()
    figures: dict[str, list[float]] = {"start, s": []}
    for number in range(arguments.rounds):
        with started_server() as (url, process, seconds):
            figures["start, s"].append(seconds)
            if number == arguments.rounds - 1:
                figures["health p99, s"] = [_percentile(health_under_load(url), 99)]
                beyond = private_bytes(process.pid) - weight_bytes() - CACHE_BYTES
                figures["memory beyond weights and KV cache, MB"] = [beyond / 1e6]
    shares = cpu_shares(arguments.cpu_model or bench_model())
    figures["cpu share, %"] = [100 * sum(shares.values())]
    figures |= {f"cpu share of {name}, %": [100 * share] for name, share in shares.items()}
    show(figures)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "server.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def started_server() -> Iterator[tuple[str, subprocess.Popen[str], float]]:
    """Starts the program on the starter model; gives its URL, its process, and the seconds until it was healthy."""
    command = [sys.executable, "-m", "vllm_local", "serve", "--port", "0", "--disable-uvicorn-access-log"]
    command += ["--kv-cache-memory-bytes", str(CACHE_BYTES), "--max-num-seqs", "64"]
    began = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = None
        while address is None:
            line = process.stderr.readline()
            assert line, "the server has ended"
            address = re.search(r"Listening on (\S+)", line)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        url = address[1]
        while httpx.get(f"{url}/health").status_code != 200:
            time.sleep(0.01)
        try:
            yield url, process, time.perf_counter() - began
        finally:
            process.terminate()


def health_under_load(url: str) -> list[float]:
    """Returns the seconds that /health took while 64 streams ran."""
    seconds = []
    with client_process(url, STARTER_MODEL_NAME, num_prompts=512, concurrency=64) as client:
        while client.poll() is None:
            began = time.perf_counter()
            httpx.get(f"{url}/health", timeout=30).raise_for_status()
            seconds.append(time.perf_counter() - began)
            time.sleep(0.05)
    return seconds


def cpu_shares(folder: Path) -> dict[str, float]:
    """Returns the shares of the process's CPU seconds that are not the model's thread and its helpers.

    Args:
        folder: The model.

    Returns:
        What each component took, and Python's other threads, of all CPU seconds.
    """
    config = EngineConfig(model=str(folder), max_model_len=1024, max_num_seqs=16, use_tqdm_on_load=False)
    settings = ServerSettings(port=0, disable_uvicorn_access_log=True)
    with bind(settings) as listener, AsyncLLM(config) as engine:
        server = Server(engine, create_app(engine, settings), settings)
        thread = threading.Thread(target=server.run, args=([listener],), name="http")
        thread.start()
        while not server.started:
            time.sleep(0.01)
        url = address_of(listener, settings)
        _run_client(url, str(folder), num_prompts=4)  # warms up
        before, all_before = _component_seconds(), time.process_time()
        _run_client(url, str(folder), num_prompts=48)
        after, total = _component_seconds(), time.process_time() - all_before
        server.should_exit = True
        thread.join()
    return {name: (seconds - before[name]) / total for name, seconds in after.items()}


@contextlib.contextmanager
def client_process(url: str, model: str, *, num_prompts: int, concurrency: int) -> Iterator[subprocess.Popen[bytes]]:
    """Loads a server from another process."""
    command = [sys.executable, "-m", "vllm_local", "bench", "serve", "--base-url", url, "--backend", "openai-chat"]
    command += ["--tokenizer", str(starter_path()), "--input-len", "64", "--output-len", "64", "--disable-tqdm"]
    command += ["--num-prompts", str(num_prompts), "--max-concurrency", str(concurrency), "--model", model]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        yield process
    assert process.returncode == 0, "the client failed"


def private_bytes(pid: int) -> int:
    """Returns the memory that belongs to a process alone."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    return 1024 * sum(int(size) for size in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+)", text, re.MULTILINE))


def weight_bytes() -> int:
    """Returns the size of the starter model's weights."""
    return sum(path.stat().st_size for path in starter_path().glob("*.safetensors"))


def show(figures: dict[str, list[float]]) -> None:
    """Prints medians, spreads and targets."""
    table = Table("figure", "median (spread)", "target")
    for name, values in figures.items():
        spread = f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"
        table.add_row(name, spread, f"under {TARGETS[name]:g}" if name in TARGETS else "")
    Console().print(table)


def _run_client(url: str, model: str, *, num_prompts: int) -> None:
    with client_process(url, model, num_prompts=num_prompts, concurrency=16):
        pass


def _component_seconds() -> dict[str, float]:
    """Returns the CPU seconds of this process's Python threads, but for the model's, by what they do."""
    seconds = dict.fromkeys((*_COMPONENTS, "the rest"), 0.0)
    for thread in threading.enumerate():
        if thread.native_id is not None and not thread.name.endswith(_MODEL_THREAD):
            names = (name for name, part in _COMPONENTS.items() if part in thread.name)
            seconds[next(names, "the rest")] += _thread_seconds(thread.native_id)
    return seconds


def _thread_seconds(thread_id: int) -> float:
    try:
        text = Path(f"/proc/self/task/{thread_id}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:  # it has ended
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="starts that are measured")
    parser.add_argument("--cpu-model", type=Path, help="another model's folder for the share of the CPU, for a trial")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
