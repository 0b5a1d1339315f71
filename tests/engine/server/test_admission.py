import asyncio

from tests.engine.server.rig import until


async def fill(server, runner, num_requests, **body):
    """Starts requests whose answers do not end before the gate opens."""
    runner.gate.clear()
    tasks = [asyncio.ensure_future(server.chat(**body)) for _ in range(num_requests)]
    await until(lambda: server.context.admission.num_choices == num_requests)
    return tasks


async def test_more_may_not_wait_than_the_settings_say(serve, runner):
    server = await serve({"max_num_queued_reqs": 1}, max_num_seqs=2)
    tasks = await fill(server, runner, 3)
    for stream in (False, True):
        response = await server.chat(stream=stream)
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "1"
        assert response.json()["error"]["type"] == "ServiceUnavailableError"
        assert "1 requests wait, and no more than 1 may" in response.json()["error"]["message"]
    runner.gate.set()
    assert [response.status_code for response in await asyncio.gather(*tasks)] == [200] * 3
    assert (await server.chat()).status_code == 200


async def test_nobody_may_wait(serve, runner):
    server = await serve({"max_num_queued_reqs": 0}, max_num_seqs=1)
    tasks = await fill(server, runner, 1)
    assert (await server.chat()).status_code == 503
    runner.gate.set()
    assert (await tasks[0]).status_code == 200


async def test_prompts_that_wait_may_not_be_longer_than_the_settings_say(serve, runner):
    server = await serve({"max_num_queued_tokens": 50}, max_num_seqs=1)
    assert (await server.complete(prompt=[1] * 100)).status_code == 200, "who need not wait may be long"
    runner.gate.clear()
    task = asyncio.ensure_future(server.complete(prompt=[1] * 40))
    await until(lambda: server.context.admission.num_choices == 1)
    response = await server.complete(prompt=[1] * 20)
    assert response.status_code == 503
    assert "60 prompt tokens would wait, and no more than 50 may" in response.json()["error"]["message"]
    runner.gate.set()
    assert (await task).status_code == 200


async def test_any_number_may_wait_by_default(serve):
    server = await serve(max_num_seqs=1)
    responses = await asyncio.gather(*(server.chat() for _ in range(20)))
    assert {response.status_code for response in responses} == {200}
