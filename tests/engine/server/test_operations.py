import asyncio

import vllm_local
from tests.engine.server.rig import until


async def test_health_and_ping(server):
    for ask, path in ((server.client.get, "/health"), (server.client.get, "/ping"), (server.client.post, "/ping")):
        response = await ask(path)
        assert (response.status_code, response.content) == (200, b"")


async def test_version(server):
    assert (await server.client.get("/version")).json() == {"version": vllm_local.__version__}


async def test_load(serve, runner):
    runner.step_seconds = 0.01
    silent, server = await serve(), await serve({"enable_server_load_tracking": True})
    tasks = [asyncio.ensure_future(item.chat(n=2, max_tokens=50)) for item in (silent, server)]
    await until(lambda: server.context.admission.num_choices and silent.context.admission.num_choices)
    assert (await server.client.get("/load")).json() == {"server_load": 2}
    assert (await silent.client.get("/load")).json() == {"server_load": 0}
    await asyncio.gather(*tasks)
    assert (await server.client.get("/load")).json() == {"server_load": 0}


async def test_server_info_shows_the_setup_and_no_keys(serve):
    server = await serve({"api_key": ("secret-1",), "served_model_name": "a"}, hf_token="secret-2")
    response = await server.client.get("/server_info", headers={"Authorization": "Bearer secret-1"})
    assert response.status_code == 200
    assert "secret" not in response.text
    body = response.json()
    assert body["vllm_config"]["max_model_len"] == 128
    assert body["vllm_config"]["engine"]["model"] == "vllm-local-starter"
    assert body["server_settings"]["served_model_name"] == ["a"]


async def test_the_prefix_cache_is_forgotten(serve):
    server = await serve({"enable_prompt_tokens_details": True})
    for _ in range(2):
        assert (await server.chat()).json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        assert (await server.chat()).json()["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
        assert (await server.client.post("/reset_prefix_cache")).json() == {"success": True}


async def test_the_prefix_cache_is_kept_while_requests_run(serve, runner):
    runner.step_seconds = 0.01
    server = await serve()
    task = asyncio.ensure_future(server.chat(max_tokens=50))
    await until(lambda: runner.num_steps)
    assert (await server.client.post("/reset_prefix_cache")).json() == {"success": False}
    await task


async def test_documentation(serve):
    server, silent = await serve(), await serve({"disable_fastapi_docs": True})
    for path in ("/docs", "/openapi.json"):
        assert (await server.client.get(path)).status_code == 200
        assert (await silent.client.get(path)).status_code == 404
    paths = (await server.client.get("/openapi.json")).json()["paths"]
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models", "/tokenize", "/metrics"} <= set(paths)
