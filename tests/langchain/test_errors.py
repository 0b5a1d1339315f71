import pickle
from typing import Any

import pytest
from langchain_core import exceptions as langchain

from langchain_vllm_local import ChatVLLMLocal
from langchain_vllm_local._errors import (
    LocalRequestAbortedError,
    LocalTimeoutError,
    translate,
    translated_errors,
)
from vllm_local import errors as engine


def every_class(base=engine.VLLMLocalError):
    for cls in base.__subclasses__():
        if cls.__module__ == engine.__name__:
            yield cls
            yield from every_class(cls)


def make(cls):
    return cls(10, 5) if cls is engine.ContextLengthError else cls("text")


@pytest.mark.parametrize("cls", set(every_class()), ids=lambda cls: cls.__name__)
def test_every_error_is_both_libraries_own(cls):
    original = make(cls)
    with pytest.raises(cls) as caught, translated_errors():
        raise original
    assert isinstance(caught.value, langchain.ModelError)
    assert caught.value.__cause__ is original
    assert str(original) in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))


@pytest.mark.parametrize(
    ("cls", "target", "retryable"),
    [
        (engine.ContextLengthError, langchain.ContextOverflowError, False),
        (engine.InvalidRequestError, langchain.ModelInvalidRequestError, False),
        (engine.ChatTemplateError, langchain.ModelInvalidRequestError, False),
        (engine.ModelNotFoundError, langchain.ModelNotFoundError, False),
        (engine.CorruptModelError, langchain.ModelError, False),
        (engine.InsufficientMemoryError, langchain.ModelError, False),
        (engine.EngineDeadError, langchain.ModelAPIError, True),
        (engine.EngineClosedError, langchain.ModelConnectionError, True),
    ],
)
def test_langchains_class(cls, target, retryable):
    error = translate(make(cls))
    assert isinstance(error, target)
    assert error.is_retryable is retryable


@pytest.mark.parametrize(
    ("cls", "targets"),
    [
        (LocalTimeoutError, (langchain.ModelTimeoutError, TimeoutError, engine.EngineError)),
        (LocalRequestAbortedError, (langchain.ModelAPIError, engine.EngineError)),
    ],
)
def test_errors_that_the_engine_does_not_have(cls, targets):
    error = cls("text")
    assert all(isinstance(error, target) for target in targets)
    assert error.is_retryable
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (cls, "text")


def test_details_survive():
    errors: list[Any] = [translate(engine.InvalidRequestError("x", parameter="top_p"))]
    errors.append(translate(engine.ContextLengthError(10, 5)))
    assert (errors[0].parameter, errors[1].max_model_len) == ("top_p", 5)


@pytest.mark.parametrize("cls", [engine.ModelNotFoundError, engine.UnsupportedModelError])
def test_a_model_that_cannot_run_here_points_to_servers_once(cls):
    assert str(translate(cls("No such model."))).count("base_url=") == 1


def test_the_whole_message_for_an_unknown_model_points_to_servers_once():
    with pytest.raises(engine.ModelNotFoundError) as caught:
        ChatVLLMLocal(model="/no/such/folder").invoke("Hello!")
    assert str(caught.value).count("base_url=") == 1


def test_translated_errors_pass_through_unchanged():
    error = translate(engine.InvalidRequestError("x"))
    with pytest.raises(engine.InvalidRequestError) as caught, translated_errors(), translated_errors():
        raise error
    assert caught.value is error


def test_other_errors_are_left_alone():
    with pytest.raises(KeyError), translated_errors():
        raise KeyError
