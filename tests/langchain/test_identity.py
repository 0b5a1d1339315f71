"""What tells one chat model from another: caches, traces, pickles and copies."""

import copy
import pickle
import threading
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps, load
from langchain_core.load.dump import dumpd
from langchain_core.messages import HumanMessage
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.tracers.base import BaseTracer

from langchain_vllm_local import ChatVLLMLocal, __version__

ANSWER = "Io amo programmare."


def secretive(**values):
    return ChatVLLMLocal(
        api_key="topsecret",
        http_client=object(),
        default_headers={"Authorization": "topsecret"},
        default_query={"key": "topsecret"},
        openai_proxy="http://user:topsecret@proxy",
        engine_args={"hf_token": "topsecret", "max_num_seqs": 4},
        max_tokens=2,
        **values,
    )


# ── Copies and pickles ──


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    "duplicate",
    [
        lambda llm: pickle.loads(pickle.dumps(llm)),
        copy.deepcopy,
        copy.copy,
        lambda llm: llm.model_copy(),
        lambda llm: llm.model_copy(deep=True),
    ],
    ids=["pickle", "deepcopy", "copy", "model_copy", "deep model_copy"],
)
def test_copies_answer_and_share_the_engine(loader, used, duplicate):
    llm = ChatVLLMLocal(engine_args={"max_num_seqs": 4}, max_tokens=2)
    if used:
        llm.invoke("hi")
    twin = duplicate(llm)
    assert twin.invoke("hi").content == llm.invoke("hi").content == "Io amo"
    assert len(loader.engines) == 1
    assert twin.asdict() == llm.asdict()


@pytest.mark.parametrize("used", [False, True])
def test_pickles_hold_no_secret_and_no_handle(loader, used):
    llm = secretive()
    if used:
        llm.invoke("hi")
    data = pickle.dumps(llm)
    assert b"topsecret" not in data
    twin = pickle.loads(data)
    assert (twin.openai_api_key, twin.http_client, twin.engine_args) == (None, None, {"max_num_seqs": 4})
    assert twin.invoke("hi").content == "Io amo"
    assert len(loader.engines) == 1
    assert llm.openai_api_key.get_secret_value() == "topsecret"


def test_deep_copies_share_what_holds_locks(loader):
    limiter, cache, client = InMemoryRateLimiter(requests_per_second=1000), InMemoryCache(), threading.Lock()
    llm = ChatVLLMLocal(rate_limiter=limiter, cache=cache, http_client=client, model_kwargs={"top_k": 3})
    agent: Any = copy.deepcopy({"parts": [llm, limiter]})
    for twin in (copy.deepcopy(llm), agent["parts"][0]):
        assert (twin.rate_limiter, twin.cache, twin.http_client) == (limiter, cache, client)
        assert twin.model_kwargs == llm.model_kwargs
        assert twin.model_kwargs is not llm.model_kwargs
        assert twin.invoke("hi").content == ANSWER
    assert len(loader.record.submitted) == 1  # the second copy found the first one's answer


def test_chains_pickle(loader):
    assert pickle.loads(pickle.dumps(ChatVLLMLocal().bind(max_tokens=1))).invoke("hi").content == "Io"


@pytest.mark.parametrize("used", [False, True])
def test_a_copy_with_another_model_is_another_model(loader, used):
    llm = ChatVLLMLocal(model="a/b")
    if used:
        llm.invoke("hi")
    other = llm.model_copy(update={"model_name": "c/d"})
    assert other.invoke("hi").response_metadata["model_name"] == "c/d"
    assert other._get_llm_string() != llm._get_llm_string()


# ── Serialisation ──


def test_it_serialises_without_secrets():
    text = dumps(secretive(temperature=0.5))
    assert "topsecret" not in text
    data = dumpd(secretive(temperature=0.5))
    assert data["id"] == ["langchain_vllm_local", "chat_models", "ChatVLLMLocal"]
    assert data["kwargs"]["openai_api_key"] == {"lc": 1, "type": "secret", "id": ["VLLM_LOCAL_API_KEY"]}
    assert data["kwargs"]["temperature"] == 0.5


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_secrets_come_from_where_it_is_loaded(monkeypatch):
    monkeypatch.setenv("VLLM_LOCAL_API_KEY", "mine")
    again: Any = load(
        dumpd(secretive()),
        valid_namespaces=["langchain_vllm_local"],
        allowed_objects=[ChatVLLMLocal],
        secrets_from_env=True,
    )
    assert again.openai_api_key.get_secret_value() == "mine"
    assert again.engine_args == {"max_num_seqs": 4}


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_it_loads_what_it_dumped():
    llm = ChatVLLMLocal(model="a/b", temperature=0.5, stop=["x"], engine_args={"max_num_seqs": 3}, top_k=4)
    again: Any = load(dumpd(llm), valid_namespaces=["langchain_vllm_local"], allowed_objects=[ChatVLLMLocal])
    assert again.asdict() == llm.asdict()
    assert isinstance(again, ChatVLLMLocal)


# ── Caches ──

DIFFERENT: list[dict[str, Any]] = [
    {"model": "a/b"},
    {"model": "c/d"},
    {"temperature": 0.5},
    {"temperature": 0.7},
    {"max_tokens": 3},
    {"engine_args": {"dtype": "float32"}},
    {"extra_body": {"top_k": 3}},
    {"stop": ["x"]},
]


def test_cache_keys_tell_models_apart():
    keys = {ChatVLLMLocal(**values)._get_llm_string() for values in DIFFERENT}
    assert len(keys) == len(DIFFERENT)
    assert ChatVLLMLocal()._get_llm_string() == ChatVLLMLocal(model="vllm-local-starter")._get_llm_string()


def test_cache_keys_follow_assignments(loader):
    llm = ChatVLLMLocal(temperature=0.5)
    before = llm._get_llm_string()
    llm.invoke("hi")
    assert llm._get_llm_string() == before
    llm.temperature = 0.7
    assert llm._get_llm_string() != before


def test_cached_answers(loader):
    cache = InMemoryCache()
    llm, other = ChatVLLMLocal(cache=cache), ChatVLLMLocal(cache=cache, max_tokens=1)
    assert llm.invoke("hi").content == llm.invoke("hi").content == ANSWER
    assert other.invoke("hi").content == "Io"
    assert llm.invoke("hi", max_tokens=2).content == "Io amo"
    assert len(loader.record.submitted) == 3


def test_half_an_answer_is_never_cached(loader):
    loader.options = {"reply": ["x"] * 100_000}
    cache = InMemoryCache()
    with pytest.raises(TimeoutError):
        ChatVLLMLocal(cache=cache, timeout=0.02).invoke("hi")
    assert cache._cache == {}


# ── Traces ──


class Tracer(BaseTracer):
    """Keeps finished runs."""

    def __init__(self):
        super().__init__()
        self.runs = []

    def _persist_run(self, run):
        self.runs.append(run)


@pytest.mark.parametrize("way", ["invoke", "stream", "batch"])
def test_traces_have_langsmiths_parameters(loader, way):
    tracer = Tracer()
    llm = ChatVLLMLocal(
        model="a/b",
        temperature=0.5,
        max_tokens=9,
        stop=["END"],
        api_key="topsecret",
        default_headers={"Authorization": "topsecret"},
        engine_args={"hf_token": "topsecret", "max_num_seqs": 5},
    )
    config: Any = {"callbacks": [tracer]}
    {
        "invoke": lambda: llm.invoke("hi", config),
        "stream": lambda: list(llm.stream("hi", config)),
        "batch": lambda: llm.batch(["hi", "ho"], config),
    }[way]()
    for run in tracer.runs:
        metadata = run.extra["metadata"]
        assert {name: value for name, value in metadata.items() if name.startswith("ls_")} == {
            "ls_provider": "vllm_local",
            "ls_model_name": "a/b",
            "ls_model_type": "chat",
            "ls_temperature": 0.5,
            "ls_max_tokens": 9,
            "ls_stop": ["END"],
            "ls_integration": "langchain_chat_model",
        }
        assert metadata["lc_versions"]["langchain-vllm-local"] == __version__
        told = run.extra["invocation_params"]
        assert (told["_type"], told["backend"]) == ("chat-vllm-local", "engine")
        assert (told["model_name"], told["engine_args"]) == ("a/b", {"max_num_seqs": 5})
        assert run.outputs["generations"][0][0]["message"]["kwargs"]["usage_metadata"]["output_tokens"] == 4
        assert "topsecret" not in run.model_dump_json()
    assert len(tracer.runs) == (2 if way == "batch" else 1)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"model": "x/y"}, {"ls_model_name": "x/y"}),
        ({"temperature": 0.1}, {"ls_temperature": 0.1}),
        ({"max_tokens": 3}, {"ls_max_tokens": 3}),
        ({"max_completion_tokens": 3}, {"ls_max_tokens": 3}),
        ({"stop": ["a"]}, {"ls_stop": ["a"]}),
    ],
)
def test_the_calls_parameters_win_in_traces(call, expected):
    params: dict[str, Any] = dict(ChatVLLMLocal(max_tokens=9, temperature=0.5, stop="END")._get_ls_params(**call))
    assert params | expected == params


@pytest.mark.parametrize("stop", ["END", ["END"]])
def test_the_constructors_stop_in_traces(stop):
    params: dict[str, Any] = dict(ChatVLLMLocal(stop=stop)._get_ls_params())
    assert params["ls_stop"] == ["END"]


def test_failed_runs_are_traced(llm):
    tracer = Tracer()
    with pytest.raises(ValueError, match="max_tokens"):
        llm.invoke("hi", {"callbacks": [tracer]}, max_token=3)
    assert "Did you mean 'max_tokens'" in tracer.runs[0].error


def test_tools_of_other_libraries_see_who_answered(llm):
    class Usage(BaseCallbackHandler):
        seen: Any = None

        def on_llm_end(self, response, **kwargs):
            self.seen = response.llm_output

    usage = Usage()
    llm.generate([[HumanMessage("a")], [HumanMessage("b")]], callbacks=[usage])
    assert usage.seen["model_name"] == "vllm-local-starter"
    assert usage.seen["token_usage"]["completion_tokens"] == 4
