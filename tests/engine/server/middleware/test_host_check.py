import httpx
import pytest

from tests.engine.server.rig import MESSAGES
from tests.engine.server.serving import Running

OWN = ["localhost", "localhost:8000", "LOCALHOST.", "a.localhost", "127.0.0.1:1", "[::1]:8000", "192.168.1.5:8000", ""]
CONTAINERS = ["host.docker.internal:8000", "host.containers.internal"]
FOREIGN = [
    "page.example",
    "page.example:8000",
    "localhost.page.example",
    "127.0.0.1.nip.io",
    "[",
    "[::1",
    "a/b",
    "\xff",
]


@pytest.fixture
def ask(serve):
    """Asks as a browser does that was led to an address of this machine by a name."""

    async def ask(called, address="127.0.0.1", path="/v1/models", **settings):
        server = await serve(settings)
        client_to = {"type": "http", "server": (address, 8000)}

        async def app(scope, receive, send):
            await server.app({**scope, **client_to}, receive, send)

        headers = {"Host": called.encode("latin-1")}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            return await client.get(path, headers=headers)

    return ask


@pytest.mark.parametrize("host", [*OWN, *CONTAINERS])
async def test_the_names_of_this_machine_are_good(ask, host):
    assert (await ask(host)).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_another_name_is_refused_on_loopback(ask, host, address):
    for path in ("/v1/models", "/docs", "/metrics", "/server_info"):
        response = await ask(host, address, path)
        assert response.status_code == 403
        error = response.json()["error"]
        assert (error["code"], error["type"]) == (403, "Forbidden")
        assert "add it to --allowed-hosts" in error["message"]
    anthropic = (await ask(host, address, "/v1/messages")).json()
    assert anthropic["error"]["type"] == "permission_error", "Anthropic's route, Anthropic's shape"


async def test_the_refused_name_is_in_the_message(ask):
    assert "'page.example'" in (await ask("page.example:8000")).json()["error"]["message"]
    assert len((await ask("x" * 9999)).content) < 600


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/reset_prefix_cache"])
async def test_nothing_is_done_for_another_name(serve, runner, path):
    server = await serve({"allowed_hosts": ("box.example",)})
    response = await server.client.post(
        path, json={"messages": MESSAGES, "max_tokens": 1}, headers={"Host": "page.example"}
    )
    assert response.status_code == 403
    assert runner.num_steps == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": ("key",)},
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"uds": "s"},
        {"allowed_hosts": ("*",)},
        {"allowed_hosts": ("PAGE.example",)},
        {"host": "page.example"},
    ],
)
async def test_where_anybody_may_come_or_the_name_is_known_there_is_nothing_to_check(ask, settings):
    assert (await ask("page.example:8000", path="/version", **settings)).status_code == 200


async def test_other_addresses_are_not_checked(ask):
    assert (await ask("page.example", "192.168.1.5", host="192.168.1.5")).status_code == 200


@pytest.mark.parametrize("settings", [{}, {"host": "0.0.0.0"}, {"api_key": ("key",)}])
async def test_a_list_of_names_holds_everywhere(ask, settings):
    settings = {**settings, "allowed_hosts": ("box.example",)}
    assert (await ask("page.example", "10.0.0.1", "/version", **settings)).status_code == 403
    assert (await ask("box.example:80", "10.0.0.1", "/version", **settings)).status_code == 200


@pytest.mark.enable_socket
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_real_server_on_loopback(host):
    running = Running(host=host, port=0)
    running.start()
    try:
        port = running.listener.getsockname()[1]
        url = running.address
        assert httpx.get(f"{url}/version", trust_env=False).status_code == 200
        for name, status in (("localhost", 200), ("page.example", 403)):
            response = httpx.get(f"{url}/version", headers={"Host": f"{name}:{port}"}, trust_env=False)
            assert response.status_code == status
    finally:
        running.stop()
        running.engine.close()


def test_on_a_unix_socket_any_name_is_good(run):
    with run().client() as client:
        assert client.get("http://page.example/version").status_code == 200
