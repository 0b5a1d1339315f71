import json

import pytest

from tests.engine.cli.running import invoke, use_fake_engine
from tests.engine.engine_fakes import ANSWER


def line(custom_id, url="/v1/chat/completions", **body):
    default = {"messages": [{"role": "user", "content": "Hi"}]} if "chat" in url else {"prompt": "Hi"}
    request = {"custom_id": custom_id, "method": "POST", "url": url, "body": {"max_tokens": 4, **default, **body}}
    return json.dumps(request)


@pytest.fixture
def configs(monkeypatch):
    return use_fake_engine(monkeypatch)


@pytest.fixture
def run_batch(configs, tmp_path):
    """Answers lines by the server's own handling, on an engine that computes nothing."""

    def run_batch(lines, *arguments):
        source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        source.write_text("\n".join(lines), encoding="utf-8", errors="surrogateescape")
        result = invoke("run-batch", "-i", str(source), "-o", str(target), "--model", "m", *arguments)
        assert result.exit_code == 0, result.output
        return result, [json.loads(text) for text in target.read_text(encoding="utf-8").splitlines()]

    return run_batch


def test_requests_are_answered_as_the_server_answers(run_batch, configs):
    result, outputs = run_batch([line("a"), line("b", "/v1/completions"), line("c", max_tokens=2)])
    assert [output["custom_id"] for output in outputs] == ["a", "b", "c"]
    bodies = [output["response"]["body"] for output in outputs]
    assert [body["object"] for body in bodies] == ["chat.completion", "text_completion", "chat.completion"]
    assert ANSWER.startswith(bodies[0]["choices"][0]["message"]["content"].strip())
    assert [body["usage"]["completion_tokens"] for body in bodies] == [4, 4, 2]
    assert all(output["error"] is None and output["response"]["status_code"] == 200 for output in outputs)
    assert "failed" not in result.stderr
    assert configs[0].model == "m"


def test_wrong_requests_are_lines_among_the_others(run_batch):
    lines = [line("a", temperature=-1), "not json", line("c"), line("d", "/v1/nothing"), line("e", model="other")]
    result, outputs = run_batch(lines)
    assert [output["response"]["status_code"] for output in outputs] == [400, 400, 200, 404, 404]
    assert "temperature" in outputs[0]["error"]["message"]
    assert "4 of the requests failed" in result.stderr


def test_no_line_however_strange_stops_the_others(run_batch):
    half_a_pair, no_utf8 = "\ud800", "\udcff"
    lines = [
        line("a", temperature=float("nan")),
        line("b", messages=[{"role": "user", "content": half_a_pair}]),
        line(half_a_pair),
        no_utf8,
        line("e", "/\0"),
        line("f"),
    ]
    _, outputs = run_batch(lines)
    assert [output["response"]["status_code"] for output in outputs] == [400, 400, 200, 400, 400, 200]
    assert [output["custom_id"] for output in outputs] == ["a", "b", half_a_pair, None, "e", "f"]


def test_the_servers_options_hold(run_batch):
    _, outputs = run_batch([line("a", model="alias")], "--served-model-name", "alias", "--response-role", "bot")
    body = outputs[0]["response"]["body"]
    assert (body["model"], body["choices"][0]["message"]["role"]) == ("alias", "bot")


def test_more_requests_than_fit_at_a_time(run_batch):
    _, outputs = run_batch([line(str(i), "/v1/completions") for i in range(100)], "--max-num-seqs", "8")
    assert [output["custom_id"] for output in outputs] == [str(i) for i in range(100)]
    assert all(output["error"] is None for output in outputs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-i", "x"], "needs --output-file"),
        (["-o", "x"], "needs --input-file"),
        (["-i", "absent.jsonl", "-o", "x"], "no input file"),
    ],
)
def test_both_files_are_needed(arguments, message):
    result = invoke("run-batch", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
