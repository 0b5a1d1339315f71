"""The error hierarchy."""

from __future__ import annotations

import inspect
import pickle

import pytest

from vllm_local import errors
from vllm_local.errors import ContextLengthError, InvalidRequestError, VLLMLocalError

ALL_ERRORS = [item for _, item in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("error", ALL_ERRORS)
def test_every_error_has_the_one_base_and_stands_in_the_drawing(error: type[Exception]) -> None:
    assert issubclass(error, VLLMLocalError)
    assert errors.__doc__ is not None
    assert error.__name__ in errors.__doc__


def test_the_callers_faults_are_value_errors() -> None:
    assert issubclass(InvalidRequestError, ValueError)
    assert issubclass(errors.InvalidConfigError, ValueError)
    assert issubclass(errors.InsufficientMemoryError, MemoryError)


def test_context_length_error_says_what_would_fit() -> None:
    error = ContextLengthError(600, 512)
    assert "maximum context length is 512 tokens" in str(error)
    assert "600 input tokens" in str(error)
    assert "at most 511 tokens" in str(error)
    assert error.parameter == "input_tokens"


def test_errors_survive_pickling() -> None:
    copy = pickle.loads(pickle.dumps(ContextLengthError(600, 512)))
    assert (copy.num_prompt_tokens, copy.max_model_len) == (600, 512)
    assert str(copy) == str(ContextLengthError(600, 512))
