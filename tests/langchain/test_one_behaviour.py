"""One behaviour: the same calls to the engine in this process, to a server we start, and to one that is there."""

import asyncio
import urllib.request
from collections.abc import Callable

import openai
import pytest
from langchain_core.exceptions import ModelError
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate

from langchain_vllm_local import ChatVLLMLocal
from tests.langchain.server_rig import wait_until
from vllm_local.errors import ContextLengthError

pytestmark = pytest.mark.enable_socket

SMALL = {"kv_cache_memory_bytes": 64 * 2**20, "max_model_len": 512, "num_threads": 1, "use_tqdm_on_load": False}
HELLO = [SystemMessage("You are a helpful assistant."), HumanMessage("What is the capital of Italy?")]
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}
POINT = {"type": "object", "properties": {"x": {"type": "integer", "maximum": 9}}, "required": ["x"]}
FORM = {"type": "json_schema", "json_schema": {"name": "point", "schema": POINT}}
NOT = {"type": "object", "properties": {"x": {"not": {"type": "string"}}}}
TALK = [HumanMessage("My name is Ada."), AIMessage("Hello, Ada!"), HumanMessage("What is my name?")]

CALLED = [
    HumanMessage("What is 1 + 2?"),
    AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "c1"}]),
    ToolMessage("3", tool_call_id="c1"),
]
THOUGHT = [HumanMessage("Hi"), AIMessage("Hello!", additional_kwargs={"reasoning_content": "hm"}), HumanMessage("And?")]

# name: (messages, parameters). Each is asked for whole and as a stream, sync and async.
CASES: dict[str, tuple[list, dict]] = {
    "plain": (HELLO, {}),
    "conversation": (TALK, {"max_tokens": 12}),
    "length": (HELLO, {"max_tokens": 3}),
    "stop": (HELLO, {"stop": [" is", "."]}),
    "stop kept": (HELLO, {"stop": [" is"], "include_stop_str_in_output": True}),
    "bias": (HELLO, {"logit_bias": {300: 50.0}, "max_tokens": 5}),
    "allowed": (HELLO, {"allowed_token_ids": [300, 301, 302], "max_tokens": 5}),
    "bad words": (HELLO, {"bad_words": ["Rome", "capital of"]}),
    "penalties": (HELLO, {"presence_penalty": 1.5, "frequency_penalty": 0.5, "repetition_penalty": 1.3}),
    "ignore_eos": (HELLO, {"ignore_eos": True, "max_tokens": 20}),
    "min_tokens": (HELLO, {"min_tokens": 15, "max_tokens": 20}),
    "special tokens": (HELLO, {"skip_special_tokens": False, "ignore_eos": True, "max_tokens": 20}),
    "logprobs": (HELLO, {"logprobs": True, "top_logprobs": 3, "max_tokens": 6}),
    "seeded": (HELLO, {"temperature": 1.2, "seed": 5, "top_k": 40, "top_p": 0.9, "min_p": 0.01}),
    "template": (HELLO, {"chat_template_kwargs": {"anything": 1}, "reasoning_effort": "none"}),
    "continued": ([HumanMessage("Hi"), AIMessage("Hello, I")], {"continue_final_message": True, "max_tokens": 6}),
    "no usage": (HELLO, {"stream_usage": False}),
    "unicode": ([HumanMessage("Wie schön! 你好 🙂")], {"max_tokens": 10}),
    "cache_salt": (HELLO, {"cache_salt": "mine"}),
    "tools": (HELLO, {"tools": [ADD]}),
    "forced": (HELLO, {"tools": [ADD], "tool_choice": "any", "parallel_tool_calls": False, "max_tokens": 60}),
    "forced, with log-probabilities": (HELLO, {"tools": [ADD], "tool_choice": "any", "logprobs": True}),
    "named": (HELLO, {"tools": [ADD], "tool_choice": "add", "max_tokens": 60}),
    "no call": (HELLO, {"tools": [ADD], "tool_choice": "none"}),
    "cut off": (HELLO, {"tools": [ADD], "tool_choice": "any", "max_tokens": 12}),
    "schema": (HELLO, {"response_format": FORM}),
    "json mode": (HELLO, {"response_format": {"type": "json_object", "schema": POINT}}),
    "regex": (HELLO, {"structured_outputs": {"regex": "(ab)+c"}}),
    "choice": (HELLO, {"extra_body": {"guided_choice": ["Rome", "Milan"]}}),
    "tools and a schema": (HELLO, {"tools": [ADD], "response_format": FORM, "max_tokens": 60}),
    "results of tools": (CALLED, {"tools": [ADD]}),
    "thoughts": (HELLO, {"chat_template_kwargs": {"enable_thinking": True}, "max_tokens": 60}),
    "a budget for thoughts": (HELLO, {"chat_template_kwargs": {"enable_thinking": True}, "thinking_token_budget": 5}),
    "earlier thoughts": (THOUGHT, {"include_reasoning": False}),
}
# name: (messages, parameters) that fail.
MISTAKES: dict[str, tuple[list, dict]] = {
    "too long": ([HumanMessage("long " * 1000)], {}),
    "no messages": ([], {}),
    "temperature": (HELLO, {"temperature": 3}),
    "kind": (HELLO, {"temperature": "hot"}),
    "unknown": (HELLO, {"topk": 3}),
    "top_logprobs": (HELLO, {"logprobs": False, "top_logprobs": 3}),
    "min over max": (HELLO, {"min_tokens": 9, "max_tokens": 3}),
    "token": (HELLO, {"allowed_token_ids": [10**7]}),
    "bad word": (HELLO, {"bad_words": [" "]}),
    "prompt_logprobs": (HELLO, {"extra_body": {"prompt_logprobs": 1}}),
    "image": ([HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}])], {}),
    "timeout": (HELLO, {"timeout": 0.001, "ignore_eos": True, "max_tokens": 300}),
    "model_kwargs": (HELLO, {"extra_body": {"topk": 3}}),
    "salt": (HELLO, {"cache_salt": ""}),
    "tool choice": (HELLO, {"tools": [ADD], "tool_choice": "sub"}),
    "choice without tools": (HELLO, {"tool_choice": "any"}),
    "a tool's schema": (HELLO, {"tools": [{"type": "function", "function": {"name": "f", "parameters": NOT}}]}),
    "a form's schema": (HELLO, {"response_format": {"type": "json_schema", "json_schema": {"schema": NOT}}}),
    "a form's regex": (HELLO, {"structured_outputs": {"regex": "("}}),
    "two forms": (HELLO, {"response_format": FORM, "structured_outputs": {"regex": "a"}}),
    "no form": (HELLO, {"response_format": {"type": "json_schema"}}),
}


@pytest.fixture(scope="module")
def models():
    """The three, by name; one server for two of them."""
    common = {"temperature": 0, "max_tokens": 24}
    server = ChatVLLMLocal(backend="server", engine_args=SMALL, **common)
    with pytest.MonkeyPatch.context():
        yield {
            "engine": ChatVLLMLocal(engine_args=SMALL, **common),
            "server": server,
            "base_url": ChatVLLMLocal(base_url=server.server.base_url, api_key=server.server.api_key, **common),
        }
    ChatVLLMLocal.shutdown_all()


@pytest.fixture
def reset(models):
    """Empties the prefix cache of a model's engine."""

    def empty(name):
        if name == "engine":
            engine = models["engine"]._backend().engine()
            assert engine.reset_prefix_cache()
            return
        server = models["server"].server
        address = server.base_url.removesuffix("/v1") + "/reset_prefix_cache"
        request = urllib.request.Request(address, method="POST", headers={"Authorization": f"Bearer {server.api_key}"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200

    return empty


def told(message):
    """What an answer says, except what differs from one request to the next."""
    metadata = {name: value for name, value in message.response_metadata.items() if name not in ("id", "logprobs")}
    calls = [{**call, "id": ""} for call in (*message.tool_calls, *message.invalid_tool_calls)]
    return message.content, message.usage_metadata, metadata, message.additional_kwargs, calls


def logprobs(message):
    entries = (message.response_metadata.get("logprobs") or {}).get("content", [])
    return [(entry["token"], entry["bytes"], len(entry["top_logprobs"])) for entry in entries], [
        value for entry in entries for value in (entry["logprob"], *(top["logprob"] for top in entry["top_logprobs"]))
    ]


def ask(llm, messages, parameters):
    """Asks in all four ways."""

    async def anew():
        whole = None
        async for chunk in llm.astream(messages, **parameters):
            whole = chunk if whole is None else whole + chunk
        return await llm.ainvoke(messages, **parameters), whole

    whole = None
    for chunk in llm.stream(messages, **parameters):
        whole = chunk if whole is None else whole + chunk
    return [llm.invoke(messages, **parameters), whole, *asyncio.run(anew())]


@pytest.mark.parametrize("case", CASES)
def test_answers_are_the_same(models, reset, case):
    messages, parameters = CASES[case]
    answers = {}
    for name, llm in models.items():
        reset(name)
        answers[name] = ask(llm, messages, parameters)
    for name in ("server", "base_url"):
        for ours, theirs in zip(answers["engine"], answers[name], strict=True):
            assert told(theirs) == told(ours)
            (spelled, values), (expected, expected_values) = logprobs(theirs), logprobs(ours)
            assert spelled == expected
            assert values == pytest.approx(expected_values, abs=1e-5)
    assert any(message.content or message.tool_calls for message in answers["engine"]) or case == "cut off"


def failure(call):
    with pytest.raises(ModelError) as caught:
        call()
    error = caught.value
    core = next(kind for kind in type(error).__mro__ if kind.__module__ == "langchain_core.exceptions")
    return core, error.is_retryable, str(error)


@pytest.mark.parametrize("case", MISTAKES)
def test_errors_are_the_same(models, case):
    messages, parameters = MISTAKES[case]
    calls: tuple[Callable, ...] = (
        lambda llm: llm.invoke(messages, **parameters),
        lambda llm: list(llm.stream(messages, **parameters)),
        lambda llm: asyncio.run(llm.ainvoke(messages, **parameters)),
    )
    if not messages:
        calls = calls[:1]  # LangChain itself cannot stream nothing
    for call in calls:
        expected = failure(lambda call=call: call(models["engine"]))
        for name in ("server", "base_url"):
            assert failure(lambda call=call, name=name: call(models[name])) == expected


def test_errors_over_http_are_openais_too(models):
    for name in ("server", "base_url"):
        with pytest.raises(ContextLengthError) as caught:
            models[name].invoke("long " * 1000)
        assert isinstance(caught.value, openai.BadRequestError)
        assert (caught.value.max_model_len, caught.value.num_prompt_tokens > 1000) == (512, True)


def test_several_answers(models, reset):
    results = []
    for name, llm in models.items():
        reset(name)
        results.append(llm.generate([HELLO], n=3, temperature=1.0, seed=3).generations[0])
    texts = [[one.text for one in generations] for generations in results]
    assert texts[0] == texts[1] == texts[2]
    assert [told(one.message) for one in results[1]] == [told(one.message) for one in results[0]]


def test_token_counts(models):
    counts = {name: llm.get_num_tokens_from_messages(HELLO) for name, llm in models.items()}
    assert len(set(counts.values())) == 1
    assert counts["server"] == models["server"].invoke(HELLO).usage_metadata["input_tokens"]
    assert len({tuple(llm.get_token_ids("Grüße, world")) for llm in models.values()}) == 1


def test_chains_and_batches(models):
    prompt = ChatPromptTemplate.from_messages([("system", "Answer briefly."), ("human", "{question}")])
    questions = [{"question": f"What is {n} and {n}?"} for n in range(6)]
    answers = [[one.text for one in (prompt | llm).batch(questions, {"max_concurrency": 1})] for llm in models.values()]
    assert answers[0] == answers[1] == answers[2]
    combined = [llm.generate([HELLO, TALK]).llm_output for llm in models.values()]
    assert combined[0]["token_usage"]["total_tokens"] == combined[1]["token_usage"]["total_tokens"]


def test_profiles(models):
    for llm in models.values():
        llm.warm_up()
    assert models["engine"].profile == models["server"].profile == models["base_url"].profile
    assert models["base_url"].model_name == "vllm-local-starter"


def test_who_leaves_a_stream_frees_the_server(models):
    server = models["server"].server

    def running():
        with urllib.request.urlopen(server.base_url.removesuffix("/v1") + "/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return [line.split()[-1] for line in lines if line.startswith("vllm:num_requests_running{")]

    endless = {"ignore_eos": True, "max_tokens": 400}

    async def leave():
        async for _ in models["base_url"].astream(HELLO, **endless):
            break
        task = asyncio.create_task(models["base_url"].ainvoke(HELLO, **endless))
        await asyncio.sleep(0.05)
        task.cancel()

    for _ in models["server"].stream(HELLO, **endless):
        break
    asyncio.run(leave())
    assert running() != []
    wait_until(lambda: set(running()) == {"0.0"}, 5)


def test_a_chat_openai_on_the_same_server(models):
    chat = models["server"].as_chat_openai()
    assert chat.invoke(HELLO).text == models["engine"].invoke(HELLO).text
