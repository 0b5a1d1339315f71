import contextlib

import httpx
import pytest

from tests.engine.engine_fakes import FakeModelRunner, make_engine
from tests.engine.server.rig import Server
from tests.engine.server.serving import Running
from vllm_local.async_llm import AsyncLLM
from vllm_local.config import EngineConfig
from vllm_local.server.app import create_app
from vllm_local.server.settings import ServerSettings


@pytest.fixture(scope="session")
def inference_server_url():
    """The starter model on a port, under the name of the model of LangChain's pages; tests need `enable_socket`."""
    engine = AsyncLLM(EngineConfig(max_model_len=256, max_num_seqs=8, use_tqdm_on_load=False))
    running = Running(engine, port=0, served_model_name="mosaicml/mpt-7b")
    running.start()
    yield f"{running.address.replace('127.0.0.1', 'localhost')}/v1"
    running.stop()


@pytest.fixture
def runner():
    return FakeModelRunner()


@pytest.fixture
async def serve(runner):
    """Starts servers in this process, without a socket; whatever a test leaves behind fails it."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(settings=None, runner=runner, **engine_arguments):
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
            running = Running(uds=str(tmp_path / "s"), **settings)
            stack.callback(running.engine.close)
            stack.callback(running.stop)
            running.start()
            return running

        yield start
