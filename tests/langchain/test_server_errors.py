"""What a server says of a full context, as numbers; in the words of vLLM 0.32 and older, and of this package."""

import pickle
from typing import Any

import httpx
import openai
import pytest

from langchain_vllm_local._server_errors import ServerContextOverflowError, translate_http
from vllm_local.errors import ContextLengthError

LIMIT = "This model's maximum context length is 512 tokens. However, "


def overflow(message):
    # Any: which of httpx's names openai's types give depends on its version.
    response: Any = httpx.Response(400, request=httpx.Request("POST", "http://127.0.0.1/v1/chat/completions"))
    error = openai.BadRequestError(message, response=response, body={"message": message})
    return translate_http(error, "http://127.0.0.1/v1")


@pytest.mark.parametrize(
    ("message", "num_prompt_tokens"),
    [
        (f"{LIMIT}your prompt contains at least 513 input tokens, which exceeds this limit even without any", 513),
        (f"{LIMIT}your prompt contains 600 input tokens, which leaves no room for an answer.", 600),
        (f"{LIMIT}you requested 700 tokens (600 in the messages, 100 in the completion).", 600),
        (f"{LIMIT}your messages resulted in 600 tokens.", 600),
        (f"{LIMIT}your prompt contains 10050 characters (more than 8192 characters, which is the upper bound", 0),
    ],
)
def test_the_numbers_of_a_full_context(message, num_prompt_tokens):
    error = overflow(message)
    assert isinstance(error, ServerContextOverflowError)
    assert (error.max_model_len, error.num_prompt_tokens) == (512, num_prompt_tokens)
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, ContextLengthError)
    assert (str(copy), copy.max_model_len, copy.num_prompt_tokens) == (message, 512, num_prompt_tokens)
