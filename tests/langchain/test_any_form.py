"""Forms of any kind, asked of a model that knows nothing: they hold or are refused, and the engine goes on."""

import asyncio
import json
import random
import threading
from typing import Any

import jsonschema
import llguidance
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.messages import AIMessage

from langchain_vllm_local import ChatVLLMLocal
from langchain_vllm_local._backends import process_registry
from tests.engine.structured_output.random_schemas import SCHEMAS, shortest
from vllm_local.structured_output import compiler

BUDGETS = [6, 25, 80]
SEEDS: dict[str, list[str]] = {
    "regex": [r"[a-z]{2,5}-\d+", r"(yes|no)+, \w{3}", ""],
    "grammar": ['start: "a" start | /[0-9]+/', 'root ::= "a" | "b" root', ""],
    "json": ['{"type": "object", "properties": {"a": {"type": "integer"}}}', '{"enum": [1, "ü", null]}', ""],
}


@pytest.fixture(scope="module")
def babbler(random_folder, starter_arguments):
    """Random weights, at a temperature that lets anything be sampled."""
    llm = ChatVLLMLocal(model=random_folder, temperature=1.0, **starter_arguments)
    llm.warm_up()
    return llm


def engine_of(llm):
    engine = process_registry().loaded_engine(llm.engine_config())
    assert engine is not None
    return engine


async def added_up(stream):
    whole: Any = None
    async for chunk in stream:
        whole = chunk if whole is None else whole + chunk
    return whole


async def answers(llm, schema, seed):
    """Asks with every budget at once, streamed and not; None if the schema is refused, by all of them alike."""
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    asked = [llm.bind(response_format=form, seed=seed, max_tokens=budget) for budget in BUDGETS]
    given = await asyncio.gather(
        *(one.ainvoke("Hello!") for one in asked),
        *(added_up(one.astream("Hello!")) for one in asked),
        return_exceptions=True,
    )
    if any(isinstance(one, BaseException) for one in given):
        assert {type(one).__mro__[1:] for one in given} == {type(given[0]).__mro__[1:]}
        assert all(isinstance(one, ModelInvalidRequestError) for one in given), given
        return None
    return list(zip(BUDGETS * 2, given, strict=True))


def is_valid(text, schema):
    try:
        value = json.loads(text)
    except ValueError:
        return False
    jsonschema.validate(value, schema)
    return True


def test_what_is_accepted_validates(babbler):
    outcomes = []

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(schema=SCHEMAS, seed=st.integers(0, 99))
    def hold(schema, seed):
        for budget, message in asyncio.run(answers(babbler, schema, seed)) or ():
            outcomes.append(is_valid(message.text, schema))
            if not outcomes[-1]:
                known = shortest(schema)
                assert message.response_metadata["finish_reason"] == "length", message.text
                assert known is None or len(babbler.get_token_ids(known)) > budget, f"{known!r} fits: {message.text!r}"

    hold()
    assert sum(outcomes) > 0.8 * 25 * 2 * len(BUDGETS), "few were refused, and few were cut off"
    engine_of(babbler).check_integrity()


def spoilt(text, chance):
    """Returns a text some of whose characters are random bytes now."""
    characters = list(text or chance.randbytes(chance.randrange(1, 80)).decode("latin-1"))
    for _ in range(chance.randrange(3)):
        characters[chance.randrange(len(characters))] = chr(chance.randrange(256))
    return "".join(characters)


async def test_whatever_is_asked_for_the_engine_goes_on(babbler, monkeypatch):
    threads: set[threading.Thread] = set()
    compiled = llguidance.LLMatcher

    def noted(*args, **kwargs):
        threads.add(threading.current_thread())
        return compiled(*args, **kwargs)

    monkeypatch.setattr(compiler, "LLMatcher", noted)
    chance, outcomes = random.Random(5), set()
    hello = babbler.bind(temperature=0, max_tokens=8)
    before = await hello.ainvoke("Hello!")
    running = babbler.astream("Hello!", ignore_eos=True, max_tokens=2000)
    for _ in range(8):
        forms = [{kind: spoilt(text, chance)} for kind, texts in SEEDS.items() for text in texts]
        asked = [babbler.bind(structured_outputs=form, max_tokens=8) for form in forms]
        given = await asyncio.gather(*(one.ainvoke("Hello!") for one in asked), return_exceptions=True)
        for one in given:
            assert isinstance(one, AIMessage | ModelInvalidRequestError), one
            outcomes.add(type(one))
        await anext(running)
    assert len(outcomes) > 1, "some were answered, some refused"
    await running.aclose()
    assert (await hello.ainvoke("Hello!")).text == before.text
    engine = engine_of(babbler)
    engine.check_integrity()
    assert threads
    assert not threads & {engine._thread._engine_thread, threading.main_thread()}, "the engine's, and the event loop's"
