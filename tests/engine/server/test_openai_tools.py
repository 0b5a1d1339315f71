"""OpenAI's own client, over a socket, on the starter model: its helpers for forms and tools."""

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel, Field

from tests.engine.server.serving import Running
from vllm_local.async_llm import AsyncLLM
from vllm_local.config import EngineConfig

pytestmark = pytest.mark.enable_socket
NAME = "starter"


class Trip(BaseModel):
    """A journey."""

    city: str = Field(max_length=20)
    days: int = Field(ge=1, le=30)


ASK: dict[str, Any] = {
    "model": NAME,
    "messages": [{"role": "user", "content": "Three days in Rome, please."}],
    "max_tokens": 150,
}
TOOL = openai.pydantic_function_tool(Trip)


@pytest.fixture(scope="module")
def client():
    engine = AsyncLLM(EngineConfig(max_model_len=768, max_num_seqs=4, use_tqdm_on_load=False))
    running = Running(engine, port=0, served_model_name=NAME)
    running.start()
    with openai.OpenAI(base_url=f"{running.address}/v1", api_key="EMPTY", max_retries=0) as made:
        yield made
    engine.check_integrity()
    running.stop()


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_parse(client, temperature):
    answer = client.chat.completions.parse(**ASK, response_format=Trip, temperature=temperature, seed=1)
    assert isinstance(answer.choices[0].message.parsed, Trip)
    with client.chat.completions.stream(**ASK, response_format=Trip, temperature=temperature, seed=1) as stream:
        streamed = stream.get_final_completion()
    assert streamed.choices[0].message.content == answer.choices[0].message.content
    assert streamed.choices[0].message.parsed == answer.choices[0].message.parsed


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "Trip"}}])
def test_a_forced_tool(client, choice):
    tools = {"tools": [TOOL], "tool_choice": choice, "parallel_tool_calls": False}
    answer = client.chat.completions.parse(**ASK, **tools, temperature=0.0)
    (call,) = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Trip)
    assert answer.choices[0].finish_reason == ("tool_calls" if choice == "required" else "stop")
    with client.chat.completions.stream(**ASK, **tools, temperature=0.0) as stream:
        pieces = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
        (streamed,) = stream.get_final_completion().choices[0].message.tool_calls
    assert streamed.function.arguments == call.function.arguments
    assert "".join(piece.arguments_delta for piece in pieces) == call.function.arguments
    assert len(pieces) > 1


def test_a_tool_s_result_is_taken(client):
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "Trip", "arguments": '{"city": "Rome", "days": 3}'},
    }
    messages = [
        *ASK["messages"],
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Booked."},
    ]
    answer = client.chat.completions.create(**{**ASK, "messages": messages}, tools=[TOOL], tool_choice="none")
    assert answer.choices[0].message.content
    assert not answer.choices[0].message.tool_calls


def test_the_responses_api(client):
    parsed = client.responses.parse(model=NAME, input="Three days in Rome.", text_format=Trip, max_output_tokens=150)
    assert isinstance(parsed.output_parsed, Trip)
    tool = {"type": "function", "name": "trip", "parameters": Trip.model_json_schema(), "strict": True}
    with client.responses.stream(
        model=NAME, input="Rome!", tools=[tool], tool_choice={"type": "function", "name": "trip"}, temperature=0.0
    ) as stream:
        final = stream.get_final_response()
    (call,) = final.output
    Trip.model_validate_json(call.arguments)


def test_choices_of_a_plain_prompt(client):
    answer = client.completions.create(
        model=NAME, prompt="Yes or no?", n=4, temperature=1.0, extra_body={"guided_choice": ["yes", "no"]}
    )
    assert {choice.text for choice in answer.choices} <= {"yes", "no"}
    answer = client.completions.create(
        model=NAME, prompt="{", max_tokens=80, extra_body={"structured_outputs": {"json": Trip.model_json_schema()}}
    )
    assert set(json.loads(answer.choices[0].text)) == {"city", "days"}
