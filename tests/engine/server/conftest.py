import contextlib

import httpx
import pytest

from tests.engine.engine_fakes import FakeModelRunner, make_engine
from tests.engine.server.rig import Server
from tests.engine.server.serving import Running, until
from vllm_local.server.app import create_app
from vllm_local.server.settings import ServerSettings


@pytest.fixture
def runner():
    return FakeModelRunner()


@pytest.fixture
async def serve(runner):
    """Starts servers in this process, without a socket; whatever a test leaves behind fails it."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(settings=None, **engine_arguments):
            engine = stack.enter_context(make_engine(runner, **engine_arguments))
            app = create_app(engine, ServerSettings(**(settings or {})))
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            client = httpx.AsyncClient(transport=transport, base_url="http://server", timeout=30)
            server = Server(await stack.enter_async_context(client), engine, app)
            stack.push_async_callback(server.check_idle)
            return server

        yield start


@pytest.fixture
async def server(serve):
    return await serve()


@pytest.fixture
def run(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(**settings):
            running = Running(tmp_path / "s", **settings)
            stack.callback(running.engine.close)
            stack.callback(running.stop)
            running.thread.start()
            until(lambda: running.server.started)
            return running

        yield start
