import logging
import re
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr, ValidationError

from langchain_vllm_local import ChatVLLMLocal
from langchain_vllm_local._parameters import ALIASES, CALL_NAMES, NO_EFFECT, SAMPLING_NAMES, UNSUPPORTED
from vllm_local.config import ENGINE_ARGUMENT_NAMES
from vllm_local.errors import InvalidConfigError
from vllm_local.sampling_params import SAMPLING_PARAM_NAMES

OPENAI_NAMES = sorted(ChatOpenAI.model_fields)
OPENAI_ALIASES = {field.alias: name for name, field in ChatOpenAI.model_fields.items() if field.alias}

# A value that ChatOpenAI takes for each field which has no plain default to try.
VALUES: dict[str, Any] = {
    "model_name": "a/b",
    "openai_api_base": "http://localhost:8000/v1",
    "openai_api_key": SecretStr("key"),
    "openai_organization": "org",
    "request_timeout": 5.0,
    "temperature": 0.5,
    "model_kwargs": {"top_k": 3},
    "extra_body": {"min_p": 0.1},
    "stream_usage": True,
    "max_retries": 2,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "seed": 1,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {1: 2},
    "streaming": True,
    "n": 1,
    "top_p": 0.9,
    "max_tokens": 5,
    "stop": ["x"],
    "reasoning_effort": "low",
    "output_version": "v1",
    "profile": {"max_input_tokens": 7},
    "default_headers": {"a": "b"},
    "default_query": {"a": "b"},
    "http_socket_options": ((1, 2, 3),),
    "stream_chunk_timeout": 3.0,
    "include_response_headers": True,
    "disabled_params": {"a": None},
    "service_tier": "flex",
    "store": True,
    "prompt_cache_options": {"a": 1},
    "openai_proxy": "http://proxy",
    "tiktoken_model_name": "gpt-4",
    "truncation": "disabled",
}


# ── ChatOpenAI's names ──


@pytest.mark.parametrize("name", OPENAI_NAMES)
def test_every_field_of_chatopenai_is_a_field(name):
    assert name in ChatVLLMLocal.model_fields
    assert ChatVLLMLocal.model_fields[name].alias == ChatOpenAI.model_fields[name].alias


@pytest.mark.parametrize("name", sorted({*OPENAI_NAMES, *OPENAI_ALIASES}))
def test_every_name_and_alias_is_taken_or_refused_clearly(name):
    field = OPENAI_ALIASES.get(name, name)
    if field in UNSUPPORTED and field not in VALUES:
        with pytest.raises(ValidationError, match=f"{field}=.* is not supported: "):
            ChatVLLMLocal(**{name: bad_value(field)})
    else:
        value = VALUES.get(field, ChatVLLMLocal.model_fields[field].get_default(call_default_factory=True))
        taken = getattr(ChatVLLMLocal(**{name: value}), field)
        assert taken == value or (field == "metadata" and "lc_versions" in taken)


def bad_value(field):
    return {
        "use_responses_api": True,
        "use_previous_response_id": True,
        "context_management": [{}],
        "include": ["x"],
    }.get(field, {"effort": "low"} if field == "reasoning" else "high")


@pytest.mark.parametrize("name", OPENAI_NAMES)
def test_chatopenais_own_default_is_accepted(name):
    default = ChatOpenAI.model_fields[name].get_default(call_default_factory=True)
    ChatVLLMLocal(**{name: default})


def test_every_field_is_honoured_without_effect_or_refused():
    """A new field of ChatOpenAI must be sorted into one of these, here and in docs/parameters.md."""
    base = set(BaseChatModel.model_fields)
    elsewhere = {"streaming", "model_kwargs", "extra_body", "openai_api_base"}
    for name in set(OPENAI_NAMES) - base - elsewhere:
        assert name in CALL_NAMES, name


def test_aliases_are_chatopenais():
    assert ALIASES == OPENAI_ALIASES


def test_every_sampling_parameter_of_the_engine_is_a_field():
    internal = {"output_kind", "structured_outputs", "thinking_budget", "logprobs"}
    refused = {"prompt_logprobs", "logprob_token_ids"}
    assert refused < set(UNSUPPORTED)
    assert set(SAMPLING_NAMES) == set(SAMPLING_PARAM_NAMES) - internal - refused
    assert set(SAMPLING_NAMES) < set(ChatVLLMLocal.model_fields)


def test_no_effect_at_construction_is_logged(caplog):
    from langchain_vllm_local._parameters import _log_no_effect

    _log_no_effect.cache_clear()
    with caplog.at_level(logging.INFO):
        ChatVLLMLocal(api_key="EMPTY", max_retries=2)
        ChatVLLMLocal(api_key="EMPTY", max_retries=2)
    assert [record.getMessage().split()[0] for record in caplog.records] == ["openai_api_key", "max_retries"]


def test_what_a_server_honours_is_not_called_without_effect(caplog):
    from langchain_vllm_local._parameters import _log_no_effect

    _log_no_effect.cache_clear()
    with caplog.at_level(logging.INFO):
        ChatVLLMLocal(base_url="http://gpu/v1", api_key="key", max_retries=2, default_headers={"a": "b"})
        assert not caplog.records
        ChatVLLMLocal(base_url="http://gpu/v1", http_client=object())
        ChatVLLMLocal(backend="server", api_key="EMPTY")
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "http_client has no effect here: one client of asyncio serves all callers; give http_async_client.",
        "openai_api_key has no effect here: the server is started with a key of its own, llm.server.api_key.",
    ]


# ── The page ──


def rows(repository, part=0):
    page = (repository / "docs" / "parameters.md").read_text(encoding="utf-8").split("## `engine_args`")[part]
    return {
        name: line
        for line in page.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }


def test_every_parameter_is_on_the_page(repository):
    told = rows(repository)
    expected = {*OPENAI_NAMES, *OPENAI_ALIASES, *ChatVLLMLocal.model_fields, *CALL_NAMES} - {
        "ls_structured_output_format",
        "structured_output_format",
    }
    assert expected - set(told) == set()
    assert set(told) - expected == set()


def test_every_engine_argument_is_on_the_page(repository):
    assert set(rows(repository, part=1)) == set(ENGINE_ARGUMENT_NAMES) - {"model"}


def test_the_page_says_what_the_code_does(repository):
    told = rows(repository)
    assert {name for name, line in told.items() if "no effect" in line} >= set(NO_EFFECT)
    assert {name for name, line in told.items() if "| error" in line} >= set(UNSUPPORTED)
    assert not any("no effect" in told[name] or "| error" in told[name] for name in SAMPLING_NAMES)


# ── Mistakes ──


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_token": 5}, "Did you mean 'max_tokens'"),
        ({"temprature": 5}, "Did you mean 'temperature'"),
        ({"max_model_len": 5}, "It is an engine argument"),
        ({"engine_args": {"model": "a/b"}}, r"beside them: ChatVLLMLocal\(model="),
        ({"engine_args": {"temperature": 0}}, r"beside them: ChatVLLMLocal\(temperature="),
        ({"engine_args": {"max_model_length": 5}}, "engine_args has no parameter.*'max_model_len'"),
        ({"engine_args": {"max_num_seqs": 0}}, "max_num_seqs must be a positive integer"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "which are one"),
        ({"model_kwargs": {"topk": 5}}, "model_kwargs has no parameter 'topk'.*'top_k'"),
        ({"extra_body": {"topk": 5}}, "extra_body has no parameter 'topk'.*'top_k'"),
        ({"temperature": -1}, "temperature must be non-negative"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"n": 2, "streaming": True}, "a stream has one answer"),
        ({"timeout": -3}, "timeout must be"),
        ({"model": ""}, "model must be"),
        ({"max_tokens": "many"}, "max_tokens"),
    ],
)
def test_mistakes_are_told_at_construction(arguments, message):
    with pytest.raises(ValidationError, match=message):
        ChatVLLMLocal(**arguments)


@pytest.mark.parametrize("backend", ["engine", "server", "vllm"])
def test_a_backend_and_an_address_exclude_each_other(backend):
    with pytest.raises(ValidationError, match=f"base_url='http://localhost:8000/v1' and backend='{backend}' exclude"):
        ChatVLLMLocal(base_url="http://localhost:8000/v1", backend=backend)


@pytest.mark.parametrize("base_url", ["localhost:8000", "ftp://host/v1", "http:///v1", ""])
def test_an_address_that_is_none(base_url):
    with pytest.raises(ValidationError, match="base_url must look like"):
        ChatVLLMLocal(base_url=base_url)


def test_an_attached_server_has_its_own_engine_arguments():
    with pytest.raises(ValidationError, match="engine_args belong to whoever starts that server"):
        ChatVLLMLocal(base_url="http://localhost:8000/v1", engine_args={"max_num_seqs": 4})


def test_engine_args_of_a_server_are_checked_at_once_and_those_of_vllm_are_vllms():
    with pytest.raises(ValidationError, match="engine_args has no parameter 'max_num_seq'"):
        ChatVLLMLocal(backend="server", engine_args={"max_num_seq": 4})
    with pytest.raises(ValidationError, match="max_num_seqs must be a positive integer"):
        ChatVLLMLocal(backend="server", engine_args={"max_num_seqs": 0})
    llm = ChatVLLMLocal(
        model="a/b", backend="vllm", engine_args={"tensor_parallel_size": 2, "enable_expert_parallel": 1}
    )
    assert llm.max_concurrency == 64
    assert ChatVLLMLocal(model="a/b", backend="vllm", engine_args={"max_num_seqs": 7}).max_concurrency == 7


def test_the_environment_names_a_server_and_its_key(monkeypatch):
    monkeypatch.setenv("VLLM_LOCAL_BASE_URL", "http://gpu:8000/v1/")
    monkeypatch.setenv("VLLM_LOCAL_API_KEY", "topsecret")
    llm = ChatVLLMLocal()
    assert (llm.openai_api_base, llm.model_name) == ("http://gpu:8000/v1", "")
    assert llm.openai_api_key == SecretStr("topsecret")
    assert "topsecret" not in repr(llm)
    assert ChatVLLMLocal(model="a/b", base_url=None).model_name == "a/b"
    assert ChatVLLMLocal(base_url="http://other/v1").openai_api_base == "http://other/v1"
    for backend in ("engine", "server"):
        assert ChatVLLMLocal(backend=backend).openai_api_base is None


def test_the_environments_server_and_engine_arguments(monkeypatch):
    monkeypatch.setenv("VLLM_LOCAL_BASE_URL", "http://gpu:8000/v1/")
    with pytest.raises(ValidationError, match="engine_args belong to whoever starts that server"):
        ChatVLLMLocal(engine_args={"max_num_seqs": 4})


def test_no_openai_variable_is_read(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_API_BASE", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROXY"):
        monkeypatch.setenv(name, "http://example.invalid")
    llm = ChatVLLMLocal()
    assert (llm.openai_api_key, llm.openai_api_base, llm.openai_proxy) == (None, None, None)


def test_errors_do_not_print_secrets():
    with pytest.raises(ValidationError) as caught:
        ChatVLLMLocal(api_key="topsecret", max_token=5)
    assert "topsecret" not in str(caught.value)


def test_engine_config_errors_per_call_are_ours(llm):
    with pytest.raises(InvalidConfigError):
        llm.engine_config(model=3)


# ── Rebuilding ──


def full():
    return ChatVLLMLocal(
        model="a/b",
        temperature=0.5,
        max_tokens=7,
        stop="x",
        timeout=3,
        api_key="key",
        engine_args={"hf_token": "hf_secret", "max_num_seqs": 3},
        extra_body={"top_k": 3},
        tags=["t"],
    )


def test_a_rebuild_from_all_fields():
    llm = full()
    fields = {name: getattr(llm, name) for name in ChatVLLMLocal.model_fields}
    again = ChatVLLMLocal(**fields)
    assert {name: getattr(again, name) for name in ChatVLLMLocal.model_fields} == fields
    assert again.streaming is None


def test_a_rebuild_from_a_dump():
    llm = full()
    again = ChatVLLMLocal(**llm.model_dump())
    assert again.asdict() == llm.asdict()
    assert again.engine_config() == llm.engine_config()


def test_the_hub_token_is_a_secret():
    llm = full()
    assert "hf_secret" not in repr(llm)
    assert llm.engine_config().hf_token == "hf_secret"


def test_a_folder_may_be_a_path(tmp_path):
    assert ChatVLLMLocal(model=tmp_path).model_name == str(tmp_path)


def test_model_is_model_name():
    assert ChatVLLMLocal(model="a/b").model == ChatVLLMLocal(model_name="a/b").model == "a/b"


def test_a_folder_may_be_a_path_object(tmp_path):
    assert ChatVLLMLocal(model=tmp_path).model_name == str(tmp_path)
