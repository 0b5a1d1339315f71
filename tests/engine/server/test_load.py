"""A minute under load: 64 streams at a time, a fifth of whose readers leave when they like."""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from vllm_local.kernels.torch_ref.linear import rounded_rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc"),
]

SECONDS = 60.0
MAX_NUM_SEQS = 32
MAX_NUM_BATCHED_TOKENS = 512
NUM_CLIENTS = 64
LEAVING_SHARE = 0.2
MEBIBYTE = 2**20


@pytest.fixture
def server(tmp_path):
    """The program itself, on the starter model; gives its socket and its process."""
    uds = tmp_path / "s"
    command = [sys.executable, "-m", "vllm_local", "serve", "--uds", str(uds), "--max-num-seqs", str(MAX_NUM_SEQS)]
    command += ["--max-num-batched-tokens", str(MAX_NUM_BATCHED_TOKENS), "--max-model-len", "1024"]
    command += ["--kv-cache-memory-bytes", "64M", "--disable-uvicorn-access-log"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    log = tmp_path / "log"
    with log.open("w") as output, subprocess.Popen(command, env=environment, stderr=output, stdout=output) as process:
        while "Listening on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield uds, process
        process.terminate()
        assert process.wait(20) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


class Load:
    """What the clients do, and what comes of it."""

    def __init__(self, client):
        self.client = client
        self.random = random.Random(0)
        self.num_answered = self.num_left = self.num_warming_up = 0
        self.health_seconds: list[float] = []
        self.resident: list[int] = []
        self.is_over = False

    async def warm_up(self):
        """Shows oneDNN each number of rows, of which it keeps megabytes: by chance it would meet some of them late."""
        for num_rows in distinct_row_numbers(MAX_NUM_BATCHED_TOKENS):  # of a step
            token_ids = [self.random.randrange(100, 1200) for _ in range(num_rows)]
            await self.complete(prompt=token_ids, max_tokens=1)
        for num_rows in distinct_row_numbers(MAX_NUM_SEQS):  # that are sampled from
            await self.complete(prompt="Hello", n=num_rows, temperature=1, max_tokens=3)

    async def complete(self, **body):
        response = await self.client.post("/v1/completions", json={"ignore_eos": True, **body})
        assert response.status_code == 200
        self.num_warming_up += body.get("n", 1)

    async def ask_until_over(self):
        while not self.is_over:
            await self.ask(leaves=self.random.random() < LEAVING_SHARE)

    async def ask(self, *, leaves):
        content = f"Tell me about the number {self.random.randrange(1000)}."
        body = {
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.random.randrange(8, 48),
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        patience = self.random.randrange(8) if leaves else None
        lines = []
        async with self.client.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200
            async for line in response.aiter_lines():
                lines += [line] if line else []
                if patience is not None and len(lines) > patience:
                    self.num_left += 1
                    return
        *_, last, usage, done = lines
        assert done == "data: [DONE]"
        assert json.loads(last[6:])["choices"][0]["finish_reason"] == "length"
        assert json.loads(usage[6:])["usage"]["completion_tokens"] == body["max_tokens"]
        self.num_answered += 1

    async def watch(self, process):
        """Asks for the server's health, and reads its memory, four times a second."""
        while not self.is_over:
            started = time.monotonic()
            assert (await self.client.get("/health")).status_code == 200
            self.health_seconds.append(time.monotonic() - started)
            self.resident.append(_resident_bytes(process.pid))
            await asyncio.sleep(0.25)

    async def run(self, process, seconds):
        async def end():
            await asyncio.sleep(seconds)
            self.is_over = True

        await asyncio.gather(*(self.ask_until_over() for _ in range(NUM_CLIENTS)), self.watch(process), end())

    async def samples(self):
        text = (await self.client.get("/metrics")).text
        lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("vllm:")]
        return {name: float(value) for name, _, value in lines}


async def test_nothing_is_lost_and_nothing_leaks(server):
    uds, process = server
    limits = httpx.Limits(max_connections=None)
    transport = httpx.AsyncHTTPTransport(uds=str(uds), limits=limits)
    async with httpx.AsyncClient(transport=transport, base_url="http://server", timeout=60) as client:
        load = Load(client)
        await load.warm_up()
        await load.run(process, SECONDS)
        labels = '{engine="0",model_name="vllm-local-starter"}'
        samples = await load.samples()
        for _ in range(100):
            samples = await load.samples()
            if not samples[f"vllm:num_requests_running{labels}"] + samples[f"vllm:num_requests_waiting{labels}"]:
                break
            await asyncio.sleep(0.1)
        assert (await client.post("/reset_prefix_cache")).json() == {"success": True}, "somebody still holds blocks"
        reasons = {reason: _count(samples, reason) for reason in ("length", "abort", "stop", "error")}
    assert samples[f"vllm:num_requests_running{labels}"] == samples[f"vllm:num_requests_waiting{labels}"] == 0
    assert samples[f"vllm:kv_cache_usage_perc{labels}"] == 0
    assert reasons["error"] == reasons["stop"] == 0
    # Who leaves at the very end may have been answered whole before the server knew.
    assert load.num_warming_up + load.num_answered <= reasons["length"]
    assert sum(reasons.values()) == load.num_warming_up + load.num_answered + load.num_left
    assert load.num_left > 0.1 * load.num_answered > 0
    assert max(load.health_seconds) < 2
    middle = len(load.resident) // 2
    grown = max(load.resident[middle:]) - max(load.resident[:middle])
    assert grown < 20 * MEBIBYTE, f"{grown / MEBIBYTE:.0f} MiB in half a minute"


def distinct_row_numbers(most):
    return [number for number in range(1, most + 1) if rounded_rows(number) == number]


def _resident_bytes(pid):
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _count(samples, reason):
    return samples[
        f'vllm:request_success_total{{engine="0",finished_reason="{reason}",model_name="vllm-local-starter"}}'
    ]
