import json
import re

import httpx
import pytest

from tests.engine.cli.running import FakeServer, invoke
from tests.engine.engine_fakes import make_tokenizer

SMALL = ["--num-prompts", "4", "--input-len", "8", "--output-len", "2", "--disable-tqdm"]


@pytest.fixture
def tokenizers(monkeypatch):
    """The names of the tokenizers that were loaded."""
    names: list[str] = []

    def load(name):
        names.append(name)
        return make_tokenizer()

    monkeypatch.setattr("vllm_local.cli.bench.serve.load_tokenizer", load)
    return names


@pytest.fixture
def serve(monkeypatch, tokenizers):
    """Runs `bench serve` against a fake server."""

    def serve(server, *arguments):
        def client_arguments(url, api_key=None, *, verify=True):
            return {"base_url": url, "headers": {"key": str(api_key)}, "transport": server.transport()}

        monkeypatch.setattr("vllm_local.cli.bench.serve.client_arguments", client_arguments)
        return invoke("bench", "serve", *SMALL, *arguments)

    return serve


def test_the_servers_first_model_is_measured(serve, tokenizers):
    server = FakeServer()
    result = serve(server)
    assert result.exit_code == 0, result.output
    assert re.search(r"Successful requests: +4\b", result.stdout)
    assert re.search(r"Total generated tokens: +8\b", result.stdout)
    assert all(name in result.stdout for name in ("Mean TTFT", "P99 TPOT", "Median ITL"))
    assert tokenizers == ["vllm-local-starter"]
    bodies = [body for _, path, body, _ in server.requests if path == "/v1/completions"]
    assert len(bodies) == 5  # with the one that tries the server
    assert {(body["model"], body["max_tokens"], body["ignore_eos"]) for body in bodies} == {("served", 2, True)}


def test_options_reach_the_requests(serve, tokenizers):
    server = FakeServer()
    options = ["--backend", "openai-chat", "--model", "m", "--served-model-name", "name", "--tokenizer", "t"]
    sampling = ["--temperature", "0", "--top-k", "5", "--logprobs", "2", "--no-ignore-eos", "--extra-body", '{"x": 1}']
    extra = ["--header", "a=b", "--api-key", "k", "--request-id-prefix", "id-", "--num-warmups", "2"]
    result = serve(server, *options, *sampling, *extra, "--max-concurrency", "2")
    assert result.exit_code == 0, result.output
    assert tokenizers == ["t"]
    assert len(server.requests) == 1 + 2 + 4
    _, path, body, headers = server.requests[-1]
    assert path == "/v1/chat/completions"
    assert {name: body[name] for name in ("model", "temperature", "top_k", "logprobs", "top_logprobs", "x")} == {
        "model": "name",
        "temperature": 0,
        "top_k": 5,
        "logprobs": True,
        "top_logprobs": 2,
        "x": 1,
    }
    assert "ignore_eos" not in body
    assert (headers["a"], headers["key"], headers["x-request-id"][:3]) == ("b", "k", "id-")
    assert "Maximum request concurrency:             2" in result.stdout


def test_the_result_is_saved(serve, tmp_path):
    save = ["--save-result", "--result-dir", str(tmp_path / "new"), "--result-filename", "r.json", "--metadata", "a=b"]
    assert (
        serve(FakeServer(), *save, "--percentile-metrics", "ttft,e2el", "--metric-percentiles", "50,99.9").exit_code
        == 0
    )
    result = json.loads((tmp_path / "new" / "r.json").read_text(encoding="utf-8"))
    assert (result["model_id"], result["tokenizer_id"], result["a"]) == ("served", "vllm-local-starter", "b")
    assert (result["completed"], result["request_rate"], result["num_prompts"]) == (4, "inf", 4)
    assert {"p50_ttft_ms", "p99.9_e2el_ms"} <= set(result)
    assert "generated_texts" not in result


def test_results_are_appended_in_detail(serve, tmp_path):
    save = ["--append-result", "--save-detailed", "--result-dir", str(tmp_path), "--result-filename", "r.jsonl"]
    for _ in range(2):
        assert serve(FakeServer(), *save).exit_code == 0
    lines = (tmp_path / "r.jsonl").read_text(encoding="utf-8").split("\n")
    assert [json.loads(line)["generated_texts"] for line in lines] == [["Hello world"] * 4] * 2


def test_a_file_is_named_as_vllm_names_it(serve, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert serve(FakeServer(), "--model", "org/m", "--save-result", "--max-concurrency", "3").exit_code == 0
    (path,) = tmp_path.iterdir()
    assert re.fullmatch(r"openai-infqps-concurrency3-m-\d{8}-\d{6}\.json", path.name)


def test_failed_requests_are_counted_and_shown(serve):
    class Flaky(FakeServer):
        def __call__(self, request):
            response = super().__call__(request)
            return httpx.Response(503, json={"error": "full"}) if len(self.requests) in {4, 5} else response

    result = serve(Flaky())
    assert result.exit_code == 0
    assert re.search(r"Failed requests: +2\b", result.stdout)
    assert "Error 1: 503: full" in result.stderr


def test_a_server_that_refuses_ends_the_run(serve):
    result = serve(FakeServer(status=401), "--model", "m")
    assert result.exit_code == 1
    assert "does not answer the first request: 401: no such luck" in result.stderr


def test_it_waits_for_the_server(serve, monkeypatch):
    monkeypatch.setattr("vllm_local.cli.bench.serve._RETRY_SECONDS", 0)

    class Late(FakeServer):
        def __call__(self, request):
            response = super().__call__(request)
            return httpx.Response(503, json={}) if len(self.requests) < 4 else response

    assert serve(Late(), "--model", "m").exit_code == 1
    assert serve(Late(), "--model", "m", "--ready-check-timeout-sec", "30").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--percentile-metrics", "ttft,x"], "not 'x'"),
        (["--metric-percentiles", "101"], "from 0 to 100"),
        (["--metric-percentiles", "a"], "from 0 to 100"),
        (["--goodput", "ttft"], "NAME:MILLISECONDS"),
        (["--goodput", "itl:5"], "NAME:MILLISECONDS"),
        (["--max-concurrency", "0"], "at least 1"),
        (["--request-rate", "0"], "must be positive"),
        (["--ramp-up-strategy", "linear"], "needs --ramp-up-start-rps"),
        (["--ramp-up-strategy", "linear", "--ramp-up-start-rps", "2", "--ramp-up-end-rps", "1"], "must rise"),
        (["--backend", "tgi"], "invalid choice"),
    ],
)
def test_mistakes_are_named(serve, arguments, message):
    result = serve(FakeServer(), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_goodput_is_reported(serve):
    result = serve(FakeServer(), "--goodput", "ttft:60000", "e2el:60000")
    assert "Request goodput (req/s):" in result.stdout


def test_the_rate_may_rise(serve):
    ramp = ["--ramp-up-strategy", "exponential", "--ramp-up-start-rps", "100", "--ramp-up-end-rps", "1000"]
    assert serve(FakeServer(), *ramp).exit_code == 0
