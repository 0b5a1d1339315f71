"""The tables agree with what they set, and carry what vLLM's users write."""

import re
from collections import Counter
from dataclasses import fields

import pytest

from vllm_local.cli.bench.latency import BENCH_LATENCY_FLAGS
from vllm_local.cli.bench.serve import BENCH_SERVE_FLAGS
from vllm_local.cli.bench.startup import BENCH_STARTUP_FLAGS
from vllm_local.cli.bench.throughput import BENCH_THROUGHPUT_FLAGS
from vllm_local.cli.chat import CHAT_FLAGS
from vllm_local.cli.complete import COMPLETE_FLAGS
from vllm_local.cli.flags.engine import ENGINE_FLAGS
from vllm_local.cli.flags.flag import Shape, Target
from vllm_local.cli.flags.server import LISTEN_FLAGS, RESPONSE_FLAGS
from vllm_local.cli.flags.table import SERVE_FLAGS
from vllm_local.cli.run_batch import RUN_BATCH_FLAGS
from vllm_local.config import ENGINE_ARGUMENT_NAMES
from vllm_local.server.settings import ServerSettings

TABLES = {
    "serve": SERVE_FLAGS,
    "chat": CHAT_FLAGS,
    "complete": COMPLETE_FLAGS,
    "run-batch": RUN_BATCH_FLAGS,
    "bench serve": BENCH_SERVE_FLAGS,
    "bench latency": BENCH_LATENCY_FLAGS,
    "bench throughput": BENCH_THROUGHPUT_FLAGS,
    "bench startup": BENCH_STARTUP_FLAGS,
}
# What scripts for `vllm serve` carry most.
COMMON = """
    host port uds api-key served-model-name dtype max-model-len max-num-seqs max-num-batched-tokens
    gpu-memory-utilization kv-cache-memory-bytes block-size kv-cache-dtype enable-prefix-caching enable-chunked-prefill
    scheduling-policy seed quantization load-format tokenizer revision trust-remote-code hf-token chat-template
    chat-template-content-format default-chat-template-kwargs trust-request-chat-template enable-auto-tool-choice
    tool-call-parser tool-strict-level exclude-tools-when-tool-choice-none reasoning-parser generation-config
    override-generation-config max-logprobs logprobs-mode structured-outputs-config speculative-config enable-lora
    lora-modules max-loras max-lora-rank enable-prompt-tokens-details enable-force-include-usage
    enable-request-id-headers return-tokens-as-token-ids response-role root-path ssl-keyfile ssl-certfile ssl-ca-certs
    ssl-cert-reqs
    allowed-origins uvicorn-log-level disable-uvicorn-access-log disable-log-stats enable-log-requests max-log-len
    sse-keep-alive-interval shutdown-timeout max-num-queued-reqs max-num-queued-tokens stream-interval runner convert
    enforce-eager tensor-parallel-size pipeline-parallel-size data-parallel-size distributed-executor-backend
    async-scheduling compilation-config optimization-level attention-backend swap-space cpu-offload-gb
    disable-custom-all-reduce kv-transfer-config enable-sleep-mode limit-mm-per-prompt middleware
    otlp-traces-endpoint api-server-count
"""

SERVER_FLAGS = (*LISTEN_FLAGS, *RESPONSE_FLAGS)


@pytest.mark.parametrize("flags", TABLES.values(), ids=TABLES)
def test_no_name_stands_for_two_things(flags):
    names = Counter(flag.name for flag in flags)
    shorts = Counter(flag.short for flag in flags if flag.short)
    assert [name for name, count in (names + shorts).items() if count > 1] == []


@pytest.mark.parametrize("flags", TABLES.values(), ids=TABLES)
def test_every_option_says_what_it_does(flags):
    assert [flag.name for flag in flags if not flag.help] == []
    idle = [flag for flag in flags if flag.target in (Target.UNUSED, Target.REFUSED)]
    assert [flag.name for flag in idle if not flag.advice and flag.name != "disable-log-stats"] == []


def test_engine_options_set_engine_arguments():
    named = {flag.sets for flag in ENGINE_FLAGS}
    refused = {"tensor_parallel_size", "pipeline_parallel_size"}
    assert named == set(ENGINE_ARGUMENT_NAMES) - refused


def test_server_options_set_server_settings():
    named = {flag.sets for flag in SERVER_FLAGS}
    assert named == {item.name for item in fields(ServerSettings)} - {"chat_template"}  # the engine's


def test_lists_are_lists():
    tuples = {item.name for item in fields(ServerSettings) if isinstance(item.default, tuple)}
    lists = {flag.sets for flag in SERVER_FLAGS if flag.shape is Shape.LIST or flag.type.__name__ == "json_texts"}
    assert lists >= tuples - {"api_key"}


def test_what_scripts_carry_is_known():
    assert set(COMMON.split()) - {flag.name for flag in SERVE_FLAGS} == set()


def test_the_page_names_options_that_exist(repository):
    known = {name for flags in TABLES.values() for flag in flags for name in (f"--{flag.name}", f"--no-{flag.name}")}
    page = (repository / "docs" / "cli.md").read_text(encoding="utf-8")
    named = {name.replace("_", "-") for name in re.findall(r"(?<![\w-])--[a-z][a-z_-]+", page)}
    assert named - known == {"--help", "--version", "--flags", "--max-model"}


def test_the_page_names_every_option_of_the_server(repository):
    page = (repository / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [flag.name for flag in SERVER_FLAGS if f"`--{flag.name}`" not in page] == []
    assert [flag.name for flag in ENGINE_FLAGS if f"--{flag.name}" not in page] == []
