"""LangChain's standard suites on the starter model: in this process, in a server, and for ChatOpenAI on that server.

What the grammar alone can pass is asked of random weights too.
"""

import dataclasses
import importlib
from typing import Annotated, Any, ClassVar

import openai
import pytest
from langchain.agents import create_agent  # noqa: TID251 - it is about agents
from langchain.agents.middleware import AgentMiddleware  # noqa: TID251 - the same
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import BaseModel, Field
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_vllm_local import ChatVLLMLocal
from tests.engine.server.serving import Running
from tests.langchain.conftest import SKIPPED
from vllm_local.async_llm import AsyncLLM
from vllm_local.config import EngineConfig
from vllm_local.starter import starter_path

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning"),
]

# Inputs that are no text, and HTTP to record.
NO_TEXT = [
    "test_image_inputs",
    "test_image_tool_message",
    "test_pdf_inputs",
    "test_pdf_tool_message",
    "test_audio_inputs",
    "test_stream_time",
]
LACKING = {
    "TestIntegration": NO_TEXT,
    "TestServer": NO_TEXT,
    "TestAttached": NO_TEXT,
    # LangChain's own class says nothing of a schema in JSON mode, and takes no inputs of Anthropic's.
    "TestChatOpenAI": [*NO_TEXT, "test_json_mode", "test_anthropic_inputs"],
}
# What the grammar alone can pass.
STRUCTURE = [
    "test_tool_choice",
    "test_tool_calling_with_no_arguments",
    "test_structured_few_shot_examples",
    "test_tool_message_histories_string_content",
    "test_tool_message_histories_list_content",
    "test_tool_message_error_status",
    "test_structured_output",
    "test_structured_output_async",
    "test_structured_output_pydantic_2_v1",
    "test_structured_output_optional_param",
    "test_json_mode",
]


class Joke(BaseModel):
    """Joke to tell user."""

    setup: str = Field(description="question to set up a joke")
    punchline: str | None = Field(default=None, description="answer to resolve the joke")
    stars: int = Field(ge=1, le=5)


class JokeV1(BaseModelV1):
    """Joke to tell user."""

    setup: str
    stars: int


@dataclasses.dataclass
class JokeRecord:
    """Joke to tell user."""

    setup: str
    stars: int


class JokeDict(TypedDict):
    """Joke to tell user."""

    setup: Annotated[str, ..., "question to set up a joke"]
    stars: int


@tool
def rate(stars: int) -> str:
    """Rates a joke."""
    return f"{stars} stars"


@tool
def recommend(setup: str, *, warmly: bool) -> str:
    """Recommends a joke."""
    return f"{setup}{'!' * warmly}"


class CallsOnce(AgentMiddleware):
    """Has a model call a tool first, and answer then, whatever it knows."""

    def wrap_model_call(self, request, handler):
        choice = "none" if isinstance(request.messages[-1], ToolMessage) else "any"
        return handler(request.override(tool_choice=choice, model_settings={"parallel_tool_calls": False}))


JOKES: dict[str, Any] = {
    "pydantic": Joke,
    "pydantic_v1": JokeV1,
    "dataclass": JokeRecord,
    "typeddict": JokeDict,
    "json_schema": Joke.model_json_schema(),
}
METHODS = ["json_schema", "function_calling", "json_mode"]


def check_joke(joke, schema):
    """A joke is an instance of its class, or a dict of exactly its schema's properties."""
    if schema is JokeDict:
        assert {"setup": str, "stars": int} == {name: type(value) for name, value in joke.items()}
    elif isinstance(schema, dict):
        Joke.model_validate(joke)
        assert set(joke) <= set(schema["properties"])
    else:
        assert isinstance(joke, schema)


class FormTests:
    """The suite sends forms; here their answers are looked at."""

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("kind", JOKES)
    def test_an_answer_has_its_form(self, model, kind, method):
        schema = JOKES[kind]
        chain = model.with_structured_output(schema, method=method)
        check_joke(list(chain.stream("Tell me a joke about cats."))[-1], schema)
        strict = model.with_structured_output(schema, method=method, include_raw=True, strict=True)
        answer = strict.invoke("Tell me a joke about cats.")
        check_joke(answer["parsed"], schema)
        assert (answer["parsing_error"], answer["raw"].response_metadata["finish_reason"]) == (None, "stop")

    @pytest.mark.parametrize("method", METHODS)
    async def test_an_answer_has_its_form_async(self, model, method):
        chain = model.with_structured_output(Joke, method=method, include_raw=True)
        answer = await chain.ainvoke("Tell me a joke about cats.")
        check_joke(answer["parsed"], Joke)
        assert answer["parsing_error"] is None

    def test_an_answer_is_a_call_or_has_its_form(self, model):
        answer = model.bind_tools([rate], response_format=Joke).invoke("Tell me a joke about cats, or rate one.")
        if answer.tool_calls:
            assert all(rate.invoke(call["args"]) for call in answer.tool_calls)
        else:
            check_joke(Joke.model_validate_json(answer.text), Joke)

    def test_an_agent_calls_its_tools(self, model):
        agent = create_agent(model, [rate, recommend], middleware=[CallsOnce()])
        question: Any = {"messages": [HumanMessage("Rate it, please!")]}
        for state in (agent.invoke(question), list(agent.stream(question, stream_mode="values"))[-1]):
            _, asked, result, answer = state["messages"]
            (call,) = asked.tool_calls
            assert result.text == {"rate": rate, "recommend": recommend}[call["name"]].invoke(call["args"])
            assert (result.tool_call_id, result.status, answer.tool_calls) == (call["id"], "success", [])

    def test_an_agent_gives_an_object(self, model):
        model.warm_up()
        assert model.profile["structured_output"]  # so that it asks for the form itself, not for a tool in its place
        question: Any = {"messages": [HumanMessage("A joke about cats!")]}
        state = create_agent(model, [], response_format=Joke).invoke(question)
        check_joke(state["structured_response"], Joke)
        assert not state["messages"][-1].tool_calls


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


class TestIntegration(FormTests, ChatModelIntegrationTests):
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
    def supports_json_mode(self):
        return True

    @property
    def supports_anthropic_inputs(self):
        return True

    @property
    def supported_usage_metadata_details(self) -> Any:
        details = ["cache_read_input", *(["reasoning_output"] if starter_thinks() else [])]
        return {"invoke": details, "stream": details}

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        llm = self.chat_model_class(**self.chat_model_params)
        messages = [SystemMessage("You are a helpful assistant. " * 10), HumanMessage("Hello!")]
        llm.invoke(messages)
        answer: Any = llm.invoke(messages, stream=stream)
        assert answer.usage_metadata["input_token_details"]["cache_read"] >= EngineConfig().block_size
        return answer

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        llm = self.chat_model_class(**self.chat_model_params)
        thinking = {"chat_template_kwargs": {"enable_thinking": True}}
        answer: Any = llm.invoke("What is 2 + 3?", stream=stream, extra_body=thinking)
        assert answer.usage_metadata["output_token_details"]["reasoning"] > 0
        return answer


def starter_thinks():
    """Whether the starter model's template has a place for thoughts."""
    return "<think>" in (starter_path() / "tokenizer_config.json").read_text(encoding="utf-8")


NAMES = ("starter", "alias")


@pytest.fixture(scope="session")
def served():
    """The address of a server of the starter model, which has two names."""
    engine = AsyncLLM(EngineConfig(kv_cache_memory_bytes=64 * 2**20, use_tqdm_on_load=False))
    running = Running(engine, port=0, served_model_name=NAMES, enable_prompt_tokens_details=True)
    running.start()
    yield f"{running.address}/v1"
    running.stop()


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
        return {"max_tokens": 64, "temperature": 0, "base_url": self.served, "model": NAMES[0], "api_key": "EMPTY"}

    @property
    def model_override_value(self):
        return NAMES[1]


@pytest.mark.enable_socket
# Warnings of its own, about what OpenAI's client parsed, and about classes of Pydantic 1.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
@pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning")
class TestChatOpenAI(TestAttached):
    """LangChain's own class on our server."""

    @property
    def chat_model_class(self) -> Any:
        return ChatOpenAI

    @property
    def chat_model_params(self):
        # A client of its own, since the one that LangChain keeps belongs to the first test's event loop; and no
        # connection outlives its request, since nobody closes the client.
        own = {"http_async_client": openai.DefaultAsyncHttpxClient(), "default_headers": {"Connection": "close"}}
        return {**super().chat_model_params, **own, "stream_usage": True}

    @property
    def supports_json_mode(self):
        return False

    @property
    def supports_anthropic_inputs(self):
        return False

    # Its JSON mode knows no schema, and its parsers no dataclass.
    test_an_answer_has_its_form = None
    test_an_answer_has_its_form_async = None
    test_an_answer_is_a_call_or_has_its_form = None  # type: ignore[assignment]
    test_an_agent_gives_an_object = None  # type: ignore[assignment]
    test_an_agent_calls_its_tools = None  # type: ignore[assignment]


@pytest.fixture(scope="session")
def random_models(random_folder, starter_arguments):
    """The same on each way to run it; one server for two of them."""
    # A model that knows nothing would go on calling.
    common: dict[str, Any] = {"temperature": 0, "max_tokens": 64, "extra_body": {"parallel_tool_calls": False}}
    server = ChatVLLMLocal(model=random_folder, backend="server", **starter_arguments, **common)

    def attached():
        return ChatVLLMLocal(base_url=server.server.base_url, api_key=server.server.api_key, **common)

    yield {
        "engine": lambda: ChatVLLMLocal(model=random_folder, **starter_arguments, **common),
        "server": lambda: server,
        "base_url": attached,
    }
    server.shutdown()


@pytest.mark.enable_socket
@pytest.mark.parametrize("place", ["engine", "server", "base_url"])
class TestStructure(FormTests):
    """A model that knows nothing passes these all the same."""

    has_tool_calling = has_tool_choice = has_structured_output = supports_json_mode = True
    structured_output_kwargs: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def model(self, random_models, place):
        return random_models[place]()

    @pytest.fixture
    def my_adder_tool(self):
        @tool
        def my_adder_tool(a: int, b: int) -> int:
            """Takes two integers, a and b, and returns their sum."""
            return a + b

        return my_adder_tool

    for _name in STRUCTURE:
        locals()[_name] = getattr(ChatModelIntegrationTests, _name)


def test_exactly_these_are_skipped(request):
    here = f"{request.node.nodeid.partition('::')[0]}::"
    ran = {item.nodeid.removeprefix(here) for item in request.session.items if item.nodeid.startswith(here)}
    skipped = {node_id.removeprefix(here) for node_id in request.config.stash.get(SKIPPED, set())}
    assert skipped & ran == {f"{suite}::{name}" for suite, names in LACKING.items() for name in names} & ran
