"""`vllm-local bench serve`: load on a server with OpenAI's API, and vLLM's figures of how it bears it."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import httpx
import typer

from vllm_local.cli.bench.arrivals import arrival_times, ramped_arrival_times
from vllm_local.cli.bench.client import BACKENDS, CHAT_BACKEND, Outcome, Target, send
from vllm_local.cli.bench.dataset import DATASET_FLAGS, load_dataset
from vllm_local.cli.bench.metrics import GOODPUT_METRICS, METRICS, report, summarize
from vllm_local.cli.bench.results import RESULT_FLAGS, save_result
from vllm_local.cli.bench.sample import SampleRequest
from vllm_local.cli.bench.tokenizers import load_tokenizer
from vllm_local.cli.command_line import read_command_line
from vllm_local.cli.flags.arguments import Arguments
from vllm_local.cli.flags.flag import Flag, Shape
from vllm_local.cli.flags.unused import unused
from vllm_local.cli.flags.values import integer, json_object, key_value, number
from vllm_local.cli.http_client import client_arguments
from vllm_local.cli.http_source import first_model
from vllm_local.cli.progress import progress_bar
from vllm_local.errors import InvalidConfigError, VLLMLocalError

_SUMMARY = "Loads a running server, and measures its answers."
_RETRY_SECONDS = 1.0
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty")

BENCH_SERVE_FLAGS: tuple[Flag, ...] = (
    Flag(name="backend", choices=BACKENDS, default="openai", help="Kind of requests."),
    Flag(name="base-url", help="The server, if host and port do not say it all."),
    Flag(name="host", default="127.0.0.1", help="The server's address."),
    Flag(name="port", type=integer, default=8000, help="The server's port."),
    Flag(name="endpoint", help="Path of the requests; /v1/completions, or /v1/chat/completions for openai-chat."),
    Flag(name="api-key", help="The server's key (not an option of vLLM's). Environment: VLLM_API_KEY."),
    Flag(name="header", shape=Shape.LIST, type=key_value, help="KEY=VALUE, sent with each request."),
    Flag(name="insecure", shape=Shape.SWITCH, help="Do not check the server's certificate."),
    Flag(name="model", help="Name of the model; the server's first by default."),
    Flag(name="served-model-name", help="Name of it in requests, if it is another one."),
    Flag(name="tokenizer", help="Id or folder of the tokenizer that makes up prompts; the model's by default."),
    *DATASET_FLAGS,
    Flag(name="seed", type=integer, default=0, help="The same one gives the same prompts and arrivals."),
    Flag(name="request-rate", type=number, default=float("inf"), help="Requests a second; inf sends all at once."),
    Flag(name="burstiness", type=number, default=1.0, help="1 is a Poisson process, less is more bursty."),
    Flag(name="ramp-up-strategy", choices=("linear", "exponential"), help="Let the rate rise, from …"),
    Flag(name="ramp-up-start-rps", type=number, help="… so many requests a second …"),
    Flag(name="ramp-up-end-rps", type=number, help="… to so many."),
    Flag(name="max-concurrency", type=integer, help="Most requests under way."),
    Flag(name="num-warmups", type=integer, default=0, help="Requests before the run."),
    Flag(name="ready-check-timeout-sec", type=integer, default=0, help="Seconds to wait for the server; 0 does not."),
    Flag(name="logprobs", type=integer, help="Log-probabilities a token."),
    Flag(name="ignore-eos", shape=Shape.SWITCH, help="Go on after the end token; always so for random prompts."),
    *(Flag(name=name.replace("_", "-"), type=number, help="Sampling parameter of the requests.") for name in _SAMPLING),
    Flag(name="extra-body", type=json_object, help="Further fields of the requests, as JSON."),
    Flag(name="request-id-prefix", help="Beginning of the requests' ids."),
    Flag(name="percentile-metrics", default="ttft,tpot,itl", help=f"Latencies to report, of {','.join(METRICS)}."),
    Flag(name="metric-percentiles", default="99", help="Percentiles of them, such as 50,90,99."),
    Flag(name="goodput", shape=Shape.LIST, help="What a good request may take, in ms: ttft:200 tpot:50 e2el:5000."),
    Flag(name="disable-tqdm", shape=Shape.SWITCH, help="No progress bar."),
    *RESULT_FLAGS,
    *unused(
        "the tokenizer is read from its files", "tokenizer-mode trust-remote-code? skip-tokenizer-init?", "Options"
    ),
    *unused("the server has no profiler", "profile?", "Options"),
    *unused("adapters are not in this version", "lora-modules* lora-assignment", "Options"),
    *unused(
        "there are no such requests", "probe-request-rate use-beam-search? self-timed? chat-template-kwargs", "Options"
    ),
    *unused(
        "plots are drawn from the saved result", "plot-timeline? timeline-itl-thresholds plot-dataset-stats?", "Options"
    ),
)


def run(arguments: list[str]) -> None:
    """Measures a server.

    Raises:
        VLLMLocalError: An option is wrong, or the server does not answer.
    """
    given = read_command_line("bench serve", "[OPTIONS]", _SUMMARY, BENCH_SERVE_FLAGS, arguments)
    bench = ServeBench(given)
    result = asyncio.run(bench.run())
    save_result(given, bench.model, result, started=datetime.now(timezone.utc).astimezone())


class ServeBench:
    """A run against one server.

    Attributes:
        model: The model's name, once the server was asked.
    """

    def __init__(self, arguments: Arguments) -> None:
        """Checks the options.

        Raises:
            InvalidConfigError: One is wrong.
        """
        self._arguments = arguments
        self.model: str = arguments["model"] or ""
        self._url = arguments["base_url"] or f"http://{arguments['host']}:{arguments['port']}"
        self._selected = _names(arguments["percentile_metrics"], METRICS)
        self._percentiles = _percentiles(arguments["metric_percentiles"])
        self._goodput = _goodput(arguments["goodput"] or [])
        if arguments["max_concurrency"] is not None and arguments["max_concurrency"] < 1:
            raise InvalidConfigError(f"--max-concurrency must be at least 1, got {arguments['max_concurrency']}.")

    async def run(self) -> dict[str, Any]:
        """Sends the requests, prints the report and returns the result.

        Raises:
            VLLMLocalError: The server does not answer, or every request failed.
        """
        given = self._arguments
        tokenizer_name = self._find_model()
        samples = load_dataset(given, lambda: load_tokenizer(tokenizer_name), given["seed"])
        target = self._target()
        options = client_arguments(self._url, given["api_key"], verify=not given["insecure"])
        options["headers"] |= dict(given["header"] or [])
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=given["max_concurrency"])
        async with httpx.AsyncClient(**options, limits=limits) as client:
            await self._warm_up(client, target, samples[0])
            typer.echo("Starting main benchmark run...")
            typer.echo(f"Traffic request rate: {given['request_rate']}")
            typer.echo(f"Maximum request concurrency: {given['max_concurrency']}")
            outcomes, seconds = await self._send_all(client, target, samples)
        return self._conclude(outcomes, seconds, tokenizer_name)

    def _find_model(self) -> str:
        """Asks the server for its model if need be; returns whose tokenizer makes up the prompts."""
        given = self._arguments
        root = self.model
        if not self.model:
            options = client_arguments(f"{self._url}/v1", given["api_key"], verify=not given["insecure"])
            with httpx.Client(**options) as client:
                entry = first_model(client)
            self.model, root = entry["id"], entry.get("root") or entry["id"]
            typer.echo(f"First model name: {self.model}, first model id: {root}")
        return str(given["tokenizer"] or root)

    def _target(self) -> Target:
        given = self._arguments
        is_chat = given["backend"] == CHAT_BACKEND
        body: dict[str, Any] = {name: given[name] for name in _SAMPLING if given[name] is not None}
        if "top_k" in body:
            body["top_k"] = int(body["top_k"])
        if given["ignore_eos"] or (given["dataset_name"] == "random" and not given.has("ignore_eos")):
            body["ignore_eos"] = True
        if given["logprobs"] is not None:
            body |= (
                {"logprobs": True, "top_logprobs": given["logprobs"]} if is_chat else {"logprobs": given["logprobs"]}
            )
        endpoint = given["endpoint"] or ("/v1/chat/completions" if is_chat else "/v1/completions")
        name = given["served_model_name"] or self.model
        return Target(given["backend"], endpoint, name, {**body, **(given["extra_body"] or {})})

    async def _warm_up(self, client: httpx.AsyncClient, target: Target, sample: SampleRequest) -> None:
        """Waits for the server, finds out whether it answers at all, and sends the warm-up requests."""
        typer.echo("Starting initial single prompt test run...")
        deadline = time.monotonic() + self._arguments["ready_check_timeout_sec"]
        while not (outcome := await send(client, target, sample)).success:
            if time.monotonic() >= deadline:
                raise VLLMLocalError(f"The server at {self._url} does not answer the first request: {outcome.error}")
            await asyncio.sleep(_RETRY_SECONDS)
        typer.echo("Initial test run completed.")
        if self._arguments["num_warmups"]:
            typer.echo(f"Warming up with {self._arguments['num_warmups']} requests...")
            samples = [sample] * self._arguments["num_warmups"]
            await _send_at(
                client, target, samples, [0.0] * len(samples), max_concurrency=self._arguments["max_concurrency"]
            )

    async def _send_all(
        self, client: httpx.AsyncClient, target: Target, samples: Sequence[SampleRequest]
    ) -> tuple[list[Outcome], float]:
        given = self._arguments
        times = self._times(len(samples))
        prefix = given["request_id_prefix"] or f"bench-{uuid.uuid4().hex[:8]}-"
        with progress_bar("Requests", len(samples), is_shown=not given["disable_tqdm"]) as advance:
            started = time.perf_counter()
            outcomes = await _send_at(
                client,
                target,
                samples,
                times,
                max_concurrency=given["max_concurrency"],
                request_id_prefix=prefix,
                advance=advance,
            )
            return outcomes, time.perf_counter() - started

    def _times(self, count: int) -> list[float]:
        given = self._arguments
        start, end = given["ramp_up_start_rps"], given["ramp_up_end_rps"]
        if given["ramp_up_strategy"] is None:
            return arrival_times(count, given["request_rate"], given["burstiness"], given["seed"])
        if start is None or end is None or given.has("request_rate"):
            message = "--ramp-up-strategy needs --ramp-up-start-rps and --ramp-up-end-rps, and no --request-rate."
            raise InvalidConfigError(message)
        return ramped_arrival_times(
            count, given["ramp_up_strategy"], start, end, burstiness=given["burstiness"], seed=given["seed"]
        )

    def _conclude(self, outcomes: Sequence[Outcome], seconds: float, tokenizer_name: str) -> dict[str, Any]:
        given = self._arguments
        errors = [outcome.error for outcome in outcomes if not outcome.success]
        if errors:
            typer.echo("Failed requests during benchmark run detected (capping to 10):", err=True)
            for index, error in enumerate(errors[:10]):
                typer.echo(f"Error {index}: {error}", err=True)
        if len(errors) == len(outcomes):
            raise VLLMLocalError("All requests failed; check the benchmark's options.")
        summary = summarize(outcomes, seconds, self._goodput)
        conditions = {"max_concurrency": given["max_concurrency"], "request_rate": given["request_rate"]}
        for line in report(summary, self._selected, self._percentiles, **conditions):
            typer.echo(line)
        return summary.as_result(outcomes, self._selected, self._percentiles) | {"tokenizer_id": tokenizer_name}


async def _send_at(
    client: httpx.AsyncClient,
    target: Target,
    samples: Sequence[SampleRequest],
    times: Sequence[float],
    *,
    max_concurrency: int | None,
    request_id_prefix: str = "",
    advance: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Sends requests at their times; those that `max_concurrency` holds back wait."""
    slots = asyncio.Semaphore(max_concurrency) if max_concurrency else contextlib.nullcontext()
    started = time.perf_counter()

    async def send_one(index: int) -> Outcome:
        await asyncio.sleep(max(started + times[index] - time.perf_counter(), 0))
        arrived = time.perf_counter()
        async with slots:
            request_id = f"{request_id_prefix}{index}" if request_id_prefix else ""
            outcome = await send(client, target, samples[index], request_id)
        outcome.client_queue_time = outcome.start_time - arrived
        advance()
        return outcome

    return list(await asyncio.gather(*map(send_one, range(len(samples)))))


def _names(text: str, known: Mapping[str, object]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise InvalidConfigError(f"--percentile-metrics knows {', '.join(known)}, not {name!r}.")
    return names


def _percentiles(text: str) -> list[float]:
    try:
        percentiles = [float(part) for part in text.split(",")]
    except ValueError:
        percentiles = [-1.0]
    if not all(0 <= percentile <= 100 for percentile in percentiles):
        raise InvalidConfigError(f"--metric-percentiles takes numbers from 0 to 100, such as 50,99, got {text!r}.")
    return percentiles


def _goodput(pairs: Sequence[str]) -> dict[str, float]:
    limits = {}
    for pair in pairs:
        name, _, text = pair.partition(":")
        try:
            limits[name] = float(text)
        except ValueError:
            limits[name] = -1.0
        if name not in GOODPUT_METRICS or limits[name] < 0:
            raise InvalidConfigError(
                f"--goodput takes {', '.join(GOODPUT_METRICS)} as NAME:MILLISECONDS, got {pair!r}."
            )
    return limits
