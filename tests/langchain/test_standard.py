"""LangChain's standard suites on the starter model: in this process, in a server, and for ChatOpenAI on that server."""

import importlib
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_vllm_local import ChatVLLMLocal
from tests.langchain.conftest import SKIPPED
from vllm_local.starter import starter_path

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning"),
]

# What this version lacks. Whoever brings it takes its line away: the last test compares.
NOT_YET = [
    # bind_tools
    "test_tool_calling[model0]",
    "test_tool_calling[model1]",
    "test_tool_calling_async",
    "test_tool_calling_with_no_arguments",
    "test_tool_choice",
    "test_tool_message_error_status",
    "test_tool_message_histories_list_content",
    "test_tool_message_histories_string_content",
    "test_bind_runnables_as_tools",
    "test_structured_few_shot_examples",
    "test_unicode_tool_call_integration",
    "test_agent_loop[model0]",
    "test_agent_loop[model1]",
    "test_anthropic_inputs",
    # with_structured_output
    "test_structured_output[pydantic]",
    "test_structured_output[typeddict]",
    "test_structured_output[json_schema]",
    "test_structured_output_async[pydantic]",
    "test_structured_output_async[typeddict]",
    "test_structured_output_async[json_schema]",
    "test_structured_output_optional_param",
    "test_structured_output_pydantic_2_v1",
    "test_json_mode",
    # inputs that are no text
    "test_image_inputs",
    "test_image_tool_message",
    "test_pdf_inputs",
    "test_pdf_tool_message",
    "test_audio_inputs",
    # HTTP to record
    "test_stream_time",
]
LACKING = {
    "TestIntegration": NOT_YET,
    "TestServer": NOT_YET,
    "TestAttached": NOT_YET,
    "TestChatOpenAI": NOT_YET,
}


class TestUnit(ChatModelUnitTests):
    @pytest.fixture(autouse=True)
    def _listed_by_langchain(self, monkeypatch):
        """`load(allowed_objects="all")` means the classes that core lists; a package outside it lists itself."""
        core_load = importlib.import_module("langchain_core.load.load")
        paths = core_load._get_default_allowed_class_paths("all")
        monkeypatch.setitem(core_load._default_class_paths_cache, "all", {*paths, tuple(ChatVLLMLocal.lc_id())})

    @property
    def chat_model_class(self):
        return ChatVLLMLocal

    @property
    def chat_model_params(self):
        # The suite loads the model again where the variables of `init_from_env_params` are set, which would move it.
        return {"backend": "engine"}

    @property
    def init_from_env_params(self):
        environment = {"VLLM_LOCAL_BASE_URL": "http://gpu:8000/v1", "VLLM_LOCAL_API_KEY": "key"}
        return environment, {}, {"openai_api_base": "http://gpu:8000/v1", "openai_api_key": "key"}


class TestIntegration(ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def _arguments(self, starter_arguments):
        self.starter_arguments = starter_arguments

    @property
    def chat_model_class(self):
        return ChatVLLMLocal

    @property
    def chat_model_params(self):
        return {"max_tokens": 64, "temperature": 0, **self.starter_arguments}

    @property
    def model_override_value(self):
        return str(starter_path())

    @property
    def supported_usage_metadata_details(self) -> Any:
        return {"invoke": ["cache_read_input"], "stream": ["cache_read_input"]}

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        llm = self.chat_model_class(**self.chat_model_params)
        messages = [SystemMessage("You are a helpful assistant. " * 10), HumanMessage("Hello!")]
        llm.invoke(messages)
        answer: Any = llm.invoke(messages, stream=stream)
        assert answer.usage_metadata["input_token_details"]["cache_read"] > 0
        return answer


@pytest.fixture(scope="session")
def served(starter_arguments):
    """A server of the starter model, which answers to its path too."""
    llm = ChatVLLMLocal(backend="server", **starter_arguments)
    yield llm
    llm.shutdown()


@pytest.mark.enable_socket
class TestServer(TestIntegration):
    @property
    def chat_model_params(self):
        return {**super().chat_model_params, "backend": "server"}


@pytest.mark.enable_socket
class TestAttached(TestIntegration):
    @pytest.fixture(autouse=True)
    def _served(self, served):
        self.served = served

    @property
    def chat_model_params(self):
        server = self.served.server
        return {"max_tokens": 64, "temperature": 0, "base_url": server.base_url, "api_key": server.api_key}

    @property
    def model_override_value(self):
        return self.served.model_name


@pytest.mark.enable_socket
class TestChatOpenAI(TestAttached):
    """LangChain's own class on our server; what it offers to bind is our server's not-yet."""

    @property
    def chat_model_class(self) -> Any:
        return ChatOpenAI

    @property
    def chat_model_params(self):
        # A client of its own, since the one that LangChain keeps belongs to the first test's event loop; and no
        # connection outlives its request, since nobody closes the client.
        own = {"http_async_client": openai.DefaultAsyncHttpxClient(), "default_headers": {"Connection": "close"}}
        own |= {"model": self.served.model_name, "stream_usage": True}
        return {**super().chat_model_params, **own}

    @property
    def has_tool_calling(self):
        return False

    @property
    def has_structured_output(self):
        return False


def test_exactly_these_are_skipped(request):
    here = f"{request.node.nodeid.partition('::')[0]}::"
    ran = {item.nodeid.removeprefix(here) for item in request.session.items if item.nodeid.startswith(here)}
    skipped = {node_id.removeprefix(here) for node_id in request.config.stash.get(SKIPPED, set())}
    assert skipped & ran == {f"{suite}::{name}" for suite, names in LACKING.items() for name in names} & ran
