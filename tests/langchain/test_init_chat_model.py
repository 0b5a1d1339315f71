import subprocess
import sys

import pytest
from langchain.chat_models import base, init_chat_model  # noqa: TID251 - it is about this list

from langchain_vllm_local import ChatVLLMLocal, register_init_chat_model
from vllm_local.errors import InvalidConfigError


@pytest.fixture
def providers(monkeypatch):
    """LangChain's list, put back afterwards."""
    listed = dict(base._BUILTIN_PROVIDERS)
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


def test_nothing_is_touched_without_it():
    code = (
        "import sys, langchain_vllm_local\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] in ('langchain', 'langgraph')]\n"
        "from langchain.chat_models import base\n"
        "assert 'vllm_local' not in base._BUILTIN_PROVIDERS\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_langchain_without_the_list_is_told(monkeypatch):
    monkeypatch.delattr(base, "_BUILTIN_PROVIDERS")
    with pytest.raises(InvalidConfigError, match="ChatVLLMLocal"):
        register_init_chat_model()


def test_no_langchain_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain.chat_models.base", None)
    with pytest.raises(InvalidConfigError, match="pip install langchain"):
        register_init_chat_model()
