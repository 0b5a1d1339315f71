import logging

import httpx
import pytest
from pydantic import BaseModel

from langchain_vllm_local._parameters import (
    ALIASES,
    CALL_NAMES,
    NO_EFFECT,
    UNSUPPORTED,
    _log_no_effect,
    chat_parameters,
    check_names,
    timeout_seconds,
)
from vllm_local.errors import InvalidRequestError
from vllm_local.sampling_params import StructuredOutputsParams


def resolve(call, **settings):
    return chat_parameters({"model_name": "m", **settings}, call)


def test_the_call_wins_over_the_constructor():
    parameters = resolve({"temperature": 0.5}, temperature=1.0, top_k=3)
    assert parameters.sampling == {"temperature": 0.5, "top_k": 3}


def test_none_in_a_call_takes_a_setting_back():
    assert resolve({"temperature": None}, temperature=1.0).sampling == {}


@pytest.mark.parametrize(("stop", "expected"), [(None, ["a"]), (["b"], ["b"]), ([], [])])
def test_stop_of_the_call_replaces_the_constructors(stop, expected):
    assert chat_parameters({"model_name": "m", "stop": ["a"]}, {}, stop).sampling["stop"] == expected


def test_aliases_mean_their_first_names():
    parameters = resolve({"max_completion_tokens": 7, "stop_sequences": ["x"], "timeout": 3, "model": "other"})
    assert parameters.sampling == {"max_tokens": 7, "stop": ["x"]}
    assert parameters.timeout == 3.0
    assert parameters.model == "other"


@pytest.mark.parametrize("place", ["model_kwargs", "extra_body"])
def test_inner_dicts_are_opened_and_win(place):
    assert resolve({}, top_k=1, **{place: {"top_k": 2, "min_p": 0.1}}).sampling == {"top_k": 2, "min_p": 0.1}
    assert resolve({place: {"top_k": 4}}, top_k=1, **{place: {"top_k": 2}}).sampling == {"top_k": 4}


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("max_token", "max_tokens"), ("temperatur", "temperature"), ("topk", "top_k"), ("modle", "model")],
)
def test_unknown_names_are_errors_with_the_nearest(name, nearest):
    with pytest.raises(InvalidRequestError, match=f"'{name}'.*'{nearest}'") as caught:
        resolve({name: 1})
    assert caught.value.parameter == name


@pytest.mark.parametrize("place", ["model_kwargs", "extra_body"])
def test_unknown_names_inside_dicts_are_errors(place):
    with pytest.raises(InvalidRequestError, match=f"{place} has no parameter 'min_q'.*'min_p'"):
        resolve({place: {"min_q": 1}})


def test_far_off_names_point_to_the_page():
    with pytest.raises(InvalidRequestError, match=r"docs/parameters\.md"):
        resolve({"zzzzzz": 1})


def test_engine_arguments_in_a_call_say_where_they_belong():
    with pytest.raises(InvalidRequestError, match="engine_args="):
        resolve({"max_num_seqs": 1})


def test_a_name_and_its_alias_together_are_an_error():
    with pytest.raises(InvalidRequestError, match="both max_completion_tokens and max_tokens"):
        check_names(["max_tokens", "max_completion_tokens"], CALL_NAMES, "A call")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 3}, 3),
        ({"top_logprobs": 2}, 2),
        ({"logprobs": False}, None),
    ],
)
def test_logprobs_become_vllms_number(call, expected):
    assert resolve(call).sampling.get("logprobs") == expected


@pytest.mark.parametrize("call", [{"logprobs": 5}, {"logprobs": False, "top_logprobs": 2}])
def test_logprobs_that_make_no_sense(call):
    with pytest.raises(InvalidRequestError, match="logprobs"):
        resolve(call)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_parameters_say_what_to_do(name):
    with pytest.raises(InvalidRequestError, match=f"{name}=.*not supported: .+"):
        resolve({name: "something"})
    for harmless in (*UNSUPPORTED[name][0], None):
        resolve({name: harmless})


@pytest.mark.parametrize("name", NO_EFFECT)
def test_parameters_without_effect_are_logged_once(name, caplog):
    _log_no_effect.cache_clear()
    with caplog.at_level(logging.INFO):
        resolve({name: "x"})
        resolve({name: "x"})
        resolve({name: None})
    assert [record.getMessage().split()[0] for record in caplog.records] == [name]
    assert caplog.records[0].levelno == (logging.INFO if name == "openai_api_key" else logging.WARNING)


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


NAMED = {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        (False, None),
        ("auto", "auto"),
        ("none", "none"),
        *((word, "required") for word in ("any", "required", True)),
        ("add", NAMED),
        (NAMED, NAMED),
        ({"type": "tool", "name": "add"}, NAMED),
        ({"type": "any"}, "required"),
        ({"type": "auto"}, "auto"),
    ],
)
def test_tool_choices_of_every_kind_become_openais(choice, expected):
    parameters = resolve({"tools": [add], "tool_choice": choice})
    assert parameters.tool_choice == expected
    assert parameters.tool_request().choice.mode in ("auto", "none", "required")


def test_a_tool_choice_that_is_none():
    with pytest.raises(InvalidRequestError, match=r"tool_choice='sub' is neither.*the tools are: 'add'") as caught:
        resolve({"tools": [add], "tool_choice": "sub"})
    assert caught.value.parameter == "tool_choice"
    with pytest.raises(InvalidRequestError, match="has no tools"):
        resolve({"tool_choice": "any"}).tool_request()


def test_tools_are_converted_and_checked():
    tools = resolve({"tools": [add], "tool_choice": "none"}).tools or []
    assert tools[0]["function"]["name"] == "add"
    assert resolve({"tools": []}).tools is None
    with pytest.raises(InvalidRequestError, match="tools cannot be converted"):
        resolve({"tools": [3]})
    with pytest.raises(InvalidRequestError, match="parallel_tool_calls"):
        resolve({"tools": [add], "parallel_tool_calls": "no"}).tool_request()


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("call", "form"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, StructuredOutputsParams(json_object=True)),
        ({"response_format": SCHEMA}, StructuredOutputsParams(json=SCHEMA)),
        ({"structured_outputs": {"regex": "a+"}}, StructuredOutputsParams(regex="a+")),
        ({"structured_outputs": StructuredOutputsParams(regex="a+")}, StructuredOutputsParams(regex="a+")),
        ({"guided_choice": ["a", "b"]}, StructuredOutputsParams(choice=["a", "b"])),
        ({"extra_body": {"guided_regex": "a+"}}, StructuredOutputsParams(regex="a+")),
        (
            {"guided_json": SCHEMA, "guided_whitespace_pattern": " ?"},
            StructuredOutputsParams(json=SCHEMA, whitespace_pattern=" ?"),
        ),
    ],
)
def test_forms_of_an_answer(call, form):
    assert resolve(call).answer_form() == form


def test_a_class_is_a_form_too():
    class Point(BaseModel):
        x: int

    for call in ({"response_format": Point}, {"guided_json": Point}, {"structured_outputs": {"json": Point}}):
        form = resolve(call).answer_form()
        assert form is not None
        assert form.json == Point.model_json_schema()


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "give one of them"),
        ({"guided_json": SCHEMA, "guided_regex": "a"}, "exactly one of"),
        ({"structured_outputs": {"yaml": "a"}}, "field that there is not"),
        ({"structured_outputs": "json"}, "must be a dict"),
        ({"response_format": 3}, "cannot be read as a schema"),
    ],
)
def test_forms_that_are_none(call, problem):
    with pytest.raises(InvalidRequestError, match=problem):
        resolve(call).answer_form()


def test_template_arguments():
    parameters = resolve(
        {"reasoning_effort": "low", "continue_final_message": True}, chat_template_kwargs={"enable_thinking": False}
    )
    assert parameters.template == {
        "reasoning_effort": "low",
        "continue_final_message": True,
        "add_generation_prompt": False,
        "enable_thinking": False,
    }
    assert resolve({"reasoning_effort": "low"}).template == {"reasoning_effort": "low", "enable_thinking": True}
    assert resolve({"reasoning_effort": "none"}).template == {"reasoning_effort": "none", "enable_thinking": False}
    with pytest.raises(InvalidRequestError, match="chat_template_kwargs"):
        resolve({"chat_template_kwargs": "no"})


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [
        (None, None),
        (3, 3.0),
        (0.5, 0.5),
        ((1, 2), 2.0),
        (httpx.Timeout(4.0, read=7.0), 7.0),
        (httpx.Timeout(None), None),
    ],
)
def test_timeouts(timeout, seconds):
    assert timeout_seconds(timeout) == seconds


@pytest.mark.parametrize("timeout", [0, -1, "3", True, float("nan"), (3,), []])
def test_bad_timeouts(timeout):
    with pytest.raises(InvalidRequestError, match="timeout"):
        timeout_seconds(timeout)


def test_aliases_do_not_collide():
    assert not set(ALIASES) & set(CALL_NAMES)
