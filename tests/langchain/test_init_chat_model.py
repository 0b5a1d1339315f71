import subprocess
import sys

import pytest
from langchain.chat_models import base, init_chat_model  # noqa: TID251 - it is about this list

from langchain_vllm_local import ChatVLLMLocal, register_init_chat_model
from vllm_local.errors import InvalidConfigError


@pytest.fixture
def providers(monkeypatch):
    """LangChain's list without us, who may be in it since another test; put back afterwards."""
    listed = {name: found for name, found in base._BUILTIN_PROVIDERS.items() if name != "vllm_local"}
    monkeypatch.setattr(base, "_BUILTIN_PROVIDERS", listed)
    base._get_chat_model_creator.cache_clear()
    yield listed
    base._get_chat_model_creator.cache_clear()


def test_the_provider_is_known_once_it_is_registered(providers):
    with pytest.raises(ValueError, match="vllm_local"):
        init_chat_model("vllm_local:some/model")
    register_init_chat_model()
    for llm in (
        init_chat_model("vllm_local:some/model", temperature=0),
        init_chat_model("some/model", model_provider="vllm_local", temperature=0),
    ):
        assert isinstance(llm, ChatVLLMLocal)
        assert (llm.model_name, llm.temperature) == ("some/model", 0)


UNTOUCHED = """
import sys

from langchain.agents import create_agent
from langchain.chat_models import base, init_chat_model
from langchain_core.language_models import BaseChatModel


def state():
    names = [name for name in sys.modules if name.partition(".")[0] in ("langchain", "langchain_core", "langgraph")]
    found = {(name, key): id(value) for name in names for key, value in vars(sys.modules[name]).items()}
    found |= {("BaseChatModel", key): id(value) for key, value in vars(BaseChatModel).items()}
    return found, dict(base._BUILTIN_PROVIDERS)


before, providers = state()
from langchain_vllm_local import ChatVLLMLocal

llm = ChatVLLMLocal(model="some/model")
create_agent(llm, [], response_format={"title": "answer", "type": "object", "properties": {}})
llm.with_structured_output({"type": "object"}), llm.bind_tools([], response_format={"type": "object"})
after, same_providers = state()
kept = {key: after.get(key) for key in before if key[1] not in ("__builtins__", "__warningregistry__")}
assert kept == {key: before[key] for key in kept}, {key for key in kept if kept[key] != before[key]}
assert not [key for key in after if key[0] == "BaseChatModel" and key not in before]
assert providers == same_providers
try:
    init_chat_model("vllm_local:some/model")
except ValueError:
    print("untouched")
"""


def test_nothing_is_touched_without_it():
    code = (
        "import sys, langchain_vllm_local\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] in ('langchain', 'langgraph')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", UNTOUCHED], check=True, capture_output=True, text=True
    )
    assert result.stdout == "untouched\n"


def test_a_langchain_without_the_list_is_told(monkeypatch):
    monkeypatch.delattr(base, "_BUILTIN_PROVIDERS")
    with pytest.raises(InvalidConfigError, match="ChatVLLMLocal"):
        register_init_chat_model()


def test_no_langchain_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain.chat_models.base", None)
    with pytest.raises(InvalidConfigError, match="pip install langchain"):
        register_init_chat_model()
