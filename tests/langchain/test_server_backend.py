"""What goes over the wire to a server, and what is made of what comes back."""

import asyncio
import subprocess
import sys

import httpx2
import openai
import pytest
from langchain_core import exceptions as langchain
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel

from langchain_vllm_local import ChatVLLMLocal
from langchain_vllm_local._server_requests import normalized_base_url, root_url
from tests.langchain.recording_server import USAGE, Recorder, answer, piece
from vllm_local.errors import ContextLengthError, InvalidConfigError, InvalidRequestError

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def server():
    recorder = Recorder()
    yield recorder
    recorder.close()


@pytest.fixture
def attach(server):
    def make(path="/v1", **arguments):
        return ChatVLLMLocal(base_url=server.address + path, **{"model": "m", **arguments})

    return make


# ── What a server is told, and what not ──


def test_nothing_of_openais_environment_reaches_the_server(server, attach, monkeypatch):
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "ORGANIZATION", "PROJECT_ID", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", "topsecret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Mine: topsecret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/topsecret")
    monkeypatch.setenv("OPENAI_PROXY", "http://127.0.0.1:1")
    llm = attach()
    llm.invoke("Hello!")
    asyncio.run(llm.ainvoke("Hello!"))
    llm.get_num_tokens("Hello!")
    llm.as_chat_openai().invoke("Hello!")
    assert len(server.requests) == 5
    for _, headers, body in server.requests:
        assert headers["authorization"] == "Bearer EMPTY"
        assert "topsecret" not in str((headers, body))
        assert "openai-organization" not in headers


def test_key_organization_and_headers_are_the_ones_given(server, attach, monkeypatch):
    monkeypatch.setenv("VLLM_LOCAL_API_KEY", "from the environment")
    attach().invoke("Hello!")
    assert server.last[1]["authorization"] == "Bearer from the environment"
    llm = attach(
        api_key="mine", organization="org", default_headers={"X-Team": "a"}, default_query={"team": "b"}, max_retries=0
    )
    llm.invoke("Hello!", extra_headers={"X-Call": "c"}, extra_query={"call": "d"}, user="me")
    path, headers, body = server.last
    assert (headers["authorization"], headers["openai-organization"]) == ("Bearer mine", "org")
    assert (headers["x-team"], headers["x-call"], body["user"]) == ("a", "c", "me")
    assert path == "/v1/chat/completions?team=b&call=d"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_key_may_be_made_when_it_is_needed(server, attach, is_async):
    async def make_async():
        return "made"

    attach(api_key=make_async if is_async else lambda: "made").invoke("Hello!")
    assert server.last[1]["authorization"] == "Bearer made"


def test_loopback_ignores_proxies(server, attach, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    llm = attach(max_retries=0)
    assert llm.invoke("Hello!").text == "Hi"
    assert llm.as_chat_openai().invoke("Hello!").text == "Hi"


def test_a_proxy_that_is_given_is_used(server):
    llm = ChatVLLMLocal(model="m", base_url="http://far.away.invalid/v1", openai_proxy=server.address)
    assert llm.invoke("Hello!").text == "Hi"
    assert server.last[0] == "http://far.away.invalid/v1/chat/completions"


def test_a_client_of_the_users(server, attach):
    sent = []

    async def note(request):
        sent.append(request.url.path)

    client = httpx2.AsyncClient(event_hooks={"request": [note]})
    assert attach(http_async_client=client).invoke("Hello!").text == "Hi"
    assert sent == ["/v1/chat/completions"]


@pytest.mark.parametrize("model", ["o1-mini", "gpt-5", "gpt-5-codex", "my-codex-7b", "o3"])
def test_nothing_is_guessed_from_a_models_name(server, attach, model):
    llm = attach(model=model, temperature=0.3, max_tokens=5)
    llm.invoke([("system", "Be brief."), ("human", "Hello!")])
    path, _, body = server.last
    assert path == "/v1/chat/completions"
    assert (body["temperature"], body["max_tokens"], body["messages"][0]["role"]) == (0.3, 5, "system")
    assert "max_completion_tokens" not in body


def test_every_parameter_by_the_servers_name(server, attach):
    llm = attach(
        temperature=0.5,
        top_k=3,
        min_p=0.1,
        repetition_penalty=1.1,
        stop_token_ids=[5],
        logit_bias={7: 1.5},
        logprobs=True,
        top_logprobs=2,
        reasoning_effort="low",
        chat_template_kwargs={"enable_thinking": False},
        priority=3,
        cache_salt="salt",
        seed=1,
        model_kwargs={"min_tokens": 1},
        extra_body={"ignore_eos": True},
    )
    llm.invoke("Hello!", stop=["x"], n=2, continue_final_message=True)
    body = server.last[2]
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello!"}],
        "temperature": 0.5,
        "top_k": 3,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "stop_token_ids": [5],
        "logit_bias": {"7": 1.5},
        "logprobs": True,
        "top_logprobs": 2,
        "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": False},
        "priority": 3,
        "cache_salt": "salt",
        "seed": 1,
        "min_tokens": 1,
        "ignore_eos": True,
        "stop": ["x"],
        "n": 2,
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


def test_reasoning_goes_both_ways(server, attach):
    server.body = answer(reasoning="hm")
    llm = attach()
    first = llm.invoke("Hello!")
    assert first.additional_kwargs["reasoning_content"] == "hm"
    assert first.content_blocks[0] == {"type": "reasoning", "reasoning": "hm"}
    llm.invoke([HumanMessage("Hello!"), first, HumanMessage("And?")])
    assert server.last[2]["messages"][1]["reasoning"] == "hm"
    server.events = [
        piece({"role": "assistant", "reasoning": "h"}),
        piece({"reasoning_content": "m"}),
        piece({"content": "Hi"}, choice={"finish_reason": "stop"}),
    ]
    whole = add_up(llm.stream("Hello!"))
    assert (whole.additional_kwargs["reasoning_content"], whole.content) == ("hm", "Hi")


# ── Tools and forms ──


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


class Point(BaseModel):
    x: int


def called(index=0, name=None, arguments=None, **more):
    return {"index": index, "function": {"name": name, "arguments": arguments}, **more}


def test_tools_are_sent_in_openais_words(server, attach):
    attach().bind_tools([add], tool_choice="any", parallel_tool_calls=False, strict=True).invoke("Hello!")
    body = server.last[2]
    assert body["tools"][0]["function"] | {"description": ""} == {
        "name": "add",
        "description": "",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    }
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("required", False)
    attach().bind_tools([], tool_choice="auto", parallel_tool_calls=False).invoke("Hello!")
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(server.last[2])


def test_forms_are_sent_by_the_apis_names(server, attach):
    server.body = answer('{"x": 1}')
    assert attach().with_structured_output(Point).invoke("Hello!") == Point(x=1)
    wanted = server.last[2]["response_format"]
    assert wanted == {"type": "json_schema", "json_schema": {"name": "Point", "schema": Point.model_json_schema()}}
    attach(extra_body={"guided_regex": "a+"}, thinking_token_budget=7, include_reasoning=False).invoke("Hello!")
    sent = {name: server.last[2][name] for name in ("structured_outputs", "thinking_token_budget", "include_reasoning")}
    assert sent == {"structured_outputs": {"regex": "a+"}, "thinking_token_budget": 7, "include_reasoning": False}


@pytest.mark.parametrize("fingerprint", [None, "vllm-local-9.9"])
def test_json_mode_has_a_schema_where_the_server_is_ours(server, attach, fingerprint):
    server.body = answer('{"x": 1}')
    server.card = {"system_fingerprint": fingerprint} if fingerprint else {}
    llm = attach()
    assert llm.with_structured_output(Point, method="json_mode").invoke("Hello!") == Point(x=1)
    schema = {"schema": Point.model_json_schema()} if fingerprint else {}
    assert server.last[2]["response_format"] == {"type": "json_object", **schema}


@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
@pytest.mark.parametrize("text", ["I would rather not.", '{"x": "one"}', '{"x": '])
def test_what_a_server_makes_of_a_form_is_checked(server, attach, method, text):
    call = {"id": "c1", "type": "function", "function": {"name": "Point", "arguments": text}}
    server.body = answer(None, tool_calls=[call]) if method == "function_calling" else answer(text)
    schema = Point.model_json_schema()
    for chain in (
        attach().with_structured_output(Point, method=method),
        attach().with_structured_output(schema, method=method),
    ):
        with pytest.raises(OutputParserException, match=r"'Point'|not JSON"):
            chain.invoke("Hello!")


def test_calls_that_are_no_json_are_invalid(server, attach):
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"id": "c2", "type": "function", "function": {"name": "add", "arguments": '{"a": '}},
    ]
    server.body = answer(None, tool_calls=calls)
    message = attach().bind_tools([add]).invoke("Hello!")
    assert [call["id"] for call in message.tool_calls] == ["c1"]
    assert [(call["id"], call["args"]) for call in message.invalid_tool_calls] == [("c2", '{"a": ')]


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_a_stream_keeps_text_thoughts_and_calls_apart(server, attach, version):
    server.events = [
        piece({"role": "assistant", "content": "", "reasoning": "hm"}),
        piece({"content": "Well", "reasoning_content": "."}),
        piece({"content": ".", "tool_calls": [called(0, "add", "", id="c1", type="function")]}),
        piece({"tool_calls": [called(0, None, '{"a": 1'), called(1, "sub", '{"b"', id="c2", type="function")]}),
        piece({"tool_calls": [called(0, None, "}"), called(1, None, ": 2}")]}),
        piece({}, choice={"finish_reason": "tool_calls"}),
    ]
    chunks = list(attach(output_version=version).bind_tools([add]).stream("Hello!"))
    whole = add_up(chunks)
    assert [block["type"] for block in whole.content_blocks] == ["reasoning", "text", "tool_call", "tool_call"]
    assert [(call["id"], call["name"], call["args"]) for call in whole.tool_calls] == [
        ("c1", "add", {"a": 1}),
        ("c2", "sub", {"b": 2}),
    ]
    assert (whole.text, whole.additional_kwargs["reasoning_content"]) == ("Well.", "hm.")
    assert not any(chunk.text and chunk.tool_call_chunks for chunk in chunks)


def test_agents_ask_for_tools_and_a_form_at_once_where_the_server_is_ours(server, attach):
    for card, keeps in (({}, False), ({"system_fingerprint": "vllm-local-9.9"}, True)):
        server.card = card
        llm = attach(api_key=f"key {keeps}")
        llm.warm_up()
        assert (llm.profile["tool_calling"], llm.profile["structured_output"]) == (True, keeps)


# ── Streams ──


def add_up(chunks):
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


def test_usage_in_streams_is_asked_for_and_the_last_one_counts(server, attach):
    server.events = [
        piece({"role": "assistant", "content": "H"}, usage={"prompt_tokens": 7, "completion_tokens": 1}),
        piece({"content": "i"}, usage={"prompt_tokens": 7, "completion_tokens": 2}),
        piece({}, choice={"finish_reason": "stop"}),
        piece(usage=USAGE),
    ]
    chunks = list(attach().stream("Hello!"))
    assert server.last[2]["stream_options"] == {"include_usage": True}
    whole = add_up(chunks)
    assert whole.usage_metadata == {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
    assert whole.response_metadata["token_usage"]["completion_tokens"] == 2
    assert (whole.response_metadata["finish_reason"], whole.response_metadata["model_name"]) == ("stop", "m")
    assert [chunk.text for chunk in chunks] == ["H", "i", ""]
    assert add_up(attach(stream_usage=False).stream("Hello!")).usage_metadata is None


def test_an_error_in_mid_stream(server, attach):
    server.events = [
        piece({"content": "H"}),
        {"error": {"message": "broke", "type": "InternalServerError", "code": 500}},
    ]
    stream = attach().stream("Hello!")
    assert next(stream).text == "H"
    with pytest.raises(langchain.ModelAPIError, match=r"^broke$") as caught:
        next(stream)
    assert isinstance(caught.value, openai.APIError)
    assert caught.value.is_retryable


def test_a_stream_may_take_its_time(server, attach):
    """LangChain's own limit of 120 seconds between chunks is off unless it is asked for."""
    assert attach()._backend().source.known_connection()._delegate.stream_chunk_timeout is None
    limited = attach(stream_chunk_timeout=3.0)
    assert limited._backend().source.known_connection()._delegate.stream_chunk_timeout == 3.0


def test_one_script_may_have_many_loops(server, attach):
    server.events = [piece({"content": "Hi"}, choice={"finish_reason": "stop"})]
    llm = attach()
    texts = [asyncio.run(llm.ainvoke("Hello!")).text for _ in range(3)]

    async def stream():
        return [chunk async for chunk in llm.astream("Hello!")]

    assert texts == ["Hi"] * 3
    assert "".join(chunk.text for chunk in asyncio.run(stream())) == "Hi"
    assert llm.invoke("Hello!").text == "Hi"


def test_response_headers(attach):
    message = attach(include_response_headers=True).invoke("Hello!")
    assert {name.lower(): value for name, value in message.response_metadata["headers"].items()}["x-proof"] == "yes"


# ── Errors ──

CONTEXT = "This model's maximum context length is 512 tokens. However, your prompt contains 600 input tokens, which"
OTHER_CONTEXT = "This model's maximum context length is 512 tokens. However, you requested 9 output tokens and your "


@pytest.mark.parametrize(
    ("status", "error", "kinds", "words"),
    [
        (400, CONTEXT, (langchain.ContextOverflowError, openai.BadRequestError), "maximum context length is 512"),
        (400, OTHER_CONTEXT, (langchain.ContextOverflowError, openai.BadRequestError), "^This model's"),
        (400, "prompt is too long: 9", (langchain.ContextOverflowError, openai.BadRequestError), "too long"),
        (400, "n is odd", (langchain.ModelInvalidRequestError, openai.BadRequestError), "^n is odd$"),
        (422, "n is odd", (langchain.ModelInvalidRequestError, openai.BadRequestError), "^n is odd$"),
        (401, None, (langchain.ModelAuthenticationError, openai.AuthenticationError), "VLLM_LOCAL_API_KEY"),
        (403, "no", (langchain.ModelPermissionDeniedError, openai.PermissionDeniedError), "^no$"),
        (404, "no model x", (langchain.ModelNotFoundError, openai.NotFoundError), "^no model x$"),
        (404, None, (langchain.ModelNotFoundError, openai.NotFoundError), "has no /v1/chat/completions.*base_url"),
        (429, "slow down", (langchain.ModelRateLimitError, openai.RateLimitError), "^slow down$"),
        (500, "oops", (langchain.ModelAPIError, openai.InternalServerError), "^oops$"),
        (503, "full", (langchain.ModelAPIError, openai.InternalServerError), "^full$"),
    ],
)
def test_errors_are_langchains_and_openais_in_the_servers_words(server, attach, status, error, kinds, words):  # noqa: PLR0917 - a table
    kind, openais = kinds
    server.status = status
    server.body = {"detail": "Not Found"} if error is None else {"error": {"message": error, "param": "p", "code": 1}}
    llm = attach(max_retries=0)
    for call in (lambda: llm.invoke("Hello!"), lambda: list(llm.stream("Hello!"))):
        with pytest.raises(kind, match=words) as caught:
            call()
        assert isinstance(caught.value, openais)
        assert caught.value.is_retryable == kind.is_retryable
    if kind is langchain.ModelInvalidRequestError:
        assert caught.value.parameter == "p"
        assert isinstance(caught.value, InvalidRequestError)


def test_the_numbers_of_a_full_context(server, attach):
    server.status, server.body = 400, {"error": {"message": CONTEXT}}
    with pytest.raises(ContextLengthError) as caught:
        attach().invoke("Hello!")
    assert (caught.value.max_model_len, caught.value.num_prompt_tokens) == (512, 600)


def test_retries_are_the_users_business(server, attach):
    server.status, server.body = 500, {"error": {"message": "oops"}}
    with pytest.raises(langchain.ModelAPIError):
        attach(max_retries=0).invoke("Hello!")
    assert len(server.requests) == 1
    with pytest.raises(langchain.ModelAPIError):
        attach(max_retries=1).invoke("Hello!")
    assert len(server.requests) == 3


def test_a_timeout_is_not_retried(server, attach):
    server.delay = 0.6
    llm = attach(timeout=0.2)
    for call in (lambda: llm.invoke("Hello!"), lambda: list(llm.stream("Hello!")), lambda: llm.batch(["a"])):
        with pytest.raises(langchain.ModelTimeoutError, match=r"longer than its timeout of 0\.2 seconds"):
            call()
    assert len(server.requests) == 3
    assert attach(timeout=9).invoke("Hello!").text == "Hi"


def test_nobody_is_there(server, attach):
    server.close()
    with pytest.raises(langchain.ModelConnectionError, match=r"server at http://127.* failed: Connect") as caught:
        attach(max_retries=0).invoke("Hello!")
    assert isinstance(caught.value, openai.APIConnectionError)


@pytest.mark.parametrize("call", [{"temperature": 3}, {"n": 0}, {"max_tokens": 0}, {"topk": 1}, {"tool_choice": "any"}])
def test_what_the_engine_refuses_does_not_reach_the_server(server, attach, call):
    with pytest.raises(langchain.ModelInvalidRequestError):
        attach().invoke("Hello!", **call)
    with pytest.raises(langchain.ModelInvalidRequestError, match="a stream has one answer"):
        next(attach(n=2).stream("Hello!"))
    assert not server.requests


# ── Models, tokens, profile ──


def test_the_only_model_is_found(server, attach):
    llm = attach(model=None)
    assert llm.invoke("Hello!").text == "Hi"
    assert server.last[2]["model"] == llm.model_name == "m"
    assert llm._get_ls_params()["ls_model_name"] == "m"
    assert [path for path, _, _ in server.requests].count("/v1/models") == 1


def test_one_of_several_models_must_be_named(server, attach):
    server.models = ["a", "b"]
    with pytest.raises(langchain.ModelInvalidRequestError, match=r"has 2 models: a, b\. Say which"):
        attach(model=None).invoke("Hello!")
    attach(model="b").invoke("Hello!")
    attach(model="b").invoke("Hello!", model="a")
    assert server.last[2]["model"] == "a"


def test_the_profile_after_warming_up(attach):
    llm = attach()
    assert not llm.profile
    llm.warm_up()
    assert llm.profile["max_input_tokens"] == 99
    other = attach()
    asyncio.run(other.awarm_up())
    assert other.profile == llm.profile


def test_a_prefix_in_the_address_is_kept(server, attach):
    llm = attach("/team/a/v1/")
    llm.invoke("Hello!")
    assert llm.get_num_tokens("Hello!") == 2
    assert llm.get_num_tokens_from_messages([HumanMessage("Hello!")], chat_template_kwargs={"a": 1}) == 5
    paths = [path for path, _, _ in server.requests]
    assert paths == ["/team/a/v1/chat/completions", "/team/a/tokenize", "/team/a/tokenize"]
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello!"}], "chat_template_kwargs": {"a": 1}}
    assert server.last[2] == body


def test_a_server_that_cannot_count(server, attach):
    server.status, server.body = 404, {"detail": "Not Found"}
    with pytest.raises(langchain.ModelInvalidRequestError, match=r"has no .*/tokenize.*count_tokens_approximately"):
        attach().get_num_tokens("Hello!")
    assert attach(custom_get_token_ids=lambda text: [1, 2, 3]).get_num_tokens("Hello!") == 3


@pytest.mark.parametrize(
    ("given", "base", "root"),
    [
        ("http://a:8000", "http://a:8000/v1", "http://a:8000"),
        ("http://a:8000/", "http://a:8000/v1", "http://a:8000"),
        (" https://a/x/v1/ ", "https://a/x/v1", "https://a/x"),
        ("http://a/v3", "http://a/v3", "http://a/v3"),
    ],
)
def test_addresses(given, base, root):
    assert (normalized_base_url(given), root_url(base)) == (base, root)


# ── The chat model around it ──


def test_as_chat_openai(server, attach):
    chat = attach(temperature=0.5, top_k=3, max_tokens=9, stop=["x"], max_retries=0).as_chat_openai()
    assert chat.invoke("Hello!").text == "Hi"
    body = server.last[2]
    assert {name: body[name] for name in ("model", "temperature", "top_k", "max_tokens", "stop")} == {
        "model": "m",
        "temperature": 0.5,
        "top_k": 3,
        "max_tokens": 9,
        "stop": ["x"],
    }
    assert type(chat).__name__ == "ChatOpenAI"


def test_the_server_of_a_model_in_this_process():
    for use in (lambda llm: llm.server, lambda llm: llm.as_chat_openai()):
        with pytest.raises(InvalidConfigError, match='use backend="server" or base_url='):
            use(ChatVLLMLocal(backend="engine"))


def test_what_others_need_to_know_of_an_attached_server(server, attach):
    told = attach(api_key="key").server
    assert (told.base_url, told.api_key, told.log_path) == (f"{server.address}/v1", "key", None)
    attach().shutdown()
    assert attach().invoke("Hello!").text == "Hi"


def test_answers_of_different_places_are_told_apart_in_caches(attach):
    places = [{"backend": "engine"}, {"backend": "server"}, {"base_url": "http://a/v1"}, {"base_url": "http://b/v1"}]
    keys = {ChatVLLMLocal(model="m", **place)._get_llm_string() for place in places}
    assert len(keys) == 4


def test_cancelling_one_call_ends_it(attach):
    async def main():
        task = asyncio.create_task(attach().ainvoke("Hello!"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_several_answers_keep_their_own_finish_reasons(server, attach):
    second = {"index": 1, "finish_reason": "length", "message": {"role": "assistant", "content": "Ho"}}
    server.body = answer() | {"choices": [*answer()["choices"], second]}
    generations = attach(n=2, temperature=1).generate([[HumanMessage("Hello!")]]).generations[0]
    assert [one.message.response_metadata["finish_reason"] for one in generations] == ["stop", "length"]
    assert isinstance(generations[1].message, AIMessage)


def test_openais_client_is_imported_with_a_server_only():
    code = (
        "import sys; from langchain_vllm_local import ChatVLLMLocal; ChatVLLMLocal(); "
        "ChatVLLMLocal(base_url='http://a/v1'); ChatVLLMLocal(backend='server'); "
        "sys.exit(repr(found) if (found := {'openai', 'langchain_openai', 'httpx', 'torch'} & set(sys.modules)) else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not result.stderr
