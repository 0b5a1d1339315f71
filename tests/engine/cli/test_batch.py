import asyncio
import json

import httpx
import pytest

from vllm_local.cli.batch import BatchRequest, answer_batch


def line(custom_id="a", **changes):
    return json.dumps(
        {"custom_id": custom_id, "method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}, **changes}
    )


@pytest.mark.parametrize(
    ("text", "custom_id", "fault"),
    [
        ("{", None, "Line 3 is not JSON"),
        ("[" * 100_000, None, "Line 3 is not JSON"),
        ("9" * 5000, None, "Line 3 is not JSON"),
        (line(url="/\0"), "a", "url must be a path"),
        (line(url="/\ud800"), "a", "url must be a path"),
        ("[]", None, "must be an object with a custom_id"),
        (line(custom_id=7), None, "must be an object with a custom_id"),
        (line(method="GET"), "a", "Line 3: method must be POST"),
        (line(url="v1"), "a", "url must be a path"),
        (line(url=None), "a", "url must be a path"),
        (line(body=[]), "a", "body must be an object, got list"),
        (line(body={"stream": True}), "a", "stream must not be set"),
    ],
)
def test_wrong_lines_are_named(text, custom_id, fault):
    request = BatchRequest.parse(text, 3)
    assert request.custom_id == custom_id
    assert fault in str(request.error)


def run(lines, handler, window=2):
    async def go():
        transport = httpx.MockTransport(handler)
        async with httpx.AsyncClient(transport=transport, base_url="http://batch") as client:
            return await answer_batch(client, lines, written.append, window=window)

    written: list[str] = []
    return asyncio.run(go()), [json.loads(text) for text in written]


def test_results_come_in_the_lines_order():
    under_way = []
    most = []

    async def handle(request):
        name = json.loads(request.content)["prompt"]
        under_way.append(name)
        most.append(len(under_way))
        await asyncio.sleep(0.01 if name == "slow" else 0)
        under_way.remove(name)
        return httpx.Response(200, json={"echo": name})

    lines = [line(str(i), body={"prompt": "slow" if i % 2 == 0 else "fast"}) for i in range(6)]
    num_errors, results = run([*lines, "", "  \n"], handle)
    assert num_errors == 0
    assert [result["custom_id"] for result in results] == list("012345")
    assert results[0]["response"]["status_code"] == 200
    assert results[0]["response"]["body"] == {"echo": "slow"}
    assert results[0]["error"] is None
    assert max(most) == 2
    assert len({result["id"] for result in results}) == 6


def test_errors_take_their_lines_place():
    def handle(request):
        if request.url.path == "/v1/nothing":
            return httpx.Response(404, json={"detail": "Not Found"})
        if json.loads(request.content)["prompt"] == "bad":
            return httpx.Response(400, json={"error": {"message": "no", "code": 400}})
        return httpx.Response(200, json={})

    lines = [line("1", body={"prompt": "bad"}), "{", line("3", url="/v1/nothing"), line("4")]
    num_errors, results = run(lines, handle)
    assert num_errors == 3
    assert [result["custom_id"] for result in results] == ["1", None, "3", "4"]
    assert [result["response"]["status_code"] for result in results] == [400, 400, 404, 200]
    assert results[0]["error"] == {"message": "no", "code": 400}
    assert results[1]["error"]["type"] == "BadRequestError"
    assert results[2]["error"] == {"detail": "Not Found"}
