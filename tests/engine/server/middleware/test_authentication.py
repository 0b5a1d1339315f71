import pytest

KEYS = {"api_key": ("key-1", "key-2", "schlüssel")}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer key-3"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer key-1 "[:-2]},
        {"Authorization": "Basic key-1"},
        {"Authorization": "key-1"},
        {"x-api-key": "key-3"},
        {"Authorization": b"Bearer \xff"},
    ],
)
async def test_who_has_no_key_stays_out(serve, headers):
    server = await serve(KEYS)
    for path in ("/v1/models", "/v1/models/x", "/v1/nothing", "/server_info"):
        response = await server.client.get(path, headers=headers)
        assert (response.status_code, response.json()) == (401, {"error": "Unauthorized"})
    assert (await server.client.post("/reset_prefix_cache", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer key-1"},
        {"Authorization": "bearer key-2"},
        {"x-api-key": "key-2"},
        {"Authorization": "Bearer schlüssel".encode()},
    ],
)
async def test_who_has_one_of_the_keys_is_let_in(serve, headers):
    server = await serve(KEYS)
    assert (await server.client.get("/v1/models", headers=headers)).status_code == 200
    assert (await server.client.post("/reset_prefix_cache", headers=headers)).status_code == 200


async def test_what_vllm_shows_everybody_is_open(serve):
    server = await serve(KEYS)
    for path in ("/health", "/ping", "/version", "/load", "/metrics", "/docs", "/openapi.json"):
        assert (await server.client.get(path)).status_code == 200
    assert (await server.client.get("/v1x")).status_code == 404


@pytest.mark.parametrize("root_path", ["/proxy", "/v", "/v1", "/v1/mod", "/a/b"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/", "/server_info", "/v1/models/vllm-local-starter"])
async def test_what_a_proxy_shows_is_guarded_too(serve, root_path, path):
    server = await serve({**KEYS, "root_path": root_path})
    for asked in (path, f"{root_path}{path}"):
        response = await server.client.get(asked)
        assert response.status_code in {401, 404}, "no path leads past the keys"
    assert (await server.client.get(f"{root_path}{path}")).status_code == 401


async def test_without_keys_everybody_is_let_in(server):
    assert (await server.client.get("/v1/models")).status_code == 200
