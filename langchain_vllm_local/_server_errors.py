"""What OpenAI's client raises as this package's errors, which stay OpenAI's too. Imported with a server only.

| from the server            | class here               | also                                            |
|----------------------------|--------------------------|-------------------------------------------------|
| 400, the context is full   | ServerContextOverflow... | LocalContextOverflowError, BadRequestError      |
| 400, 413, 422              | ServerInvalidRequest...  | LocalInvalidRequestError, BadRequestError       |
| 401                        | ServerAuthentication...  | ModelAuthenticationError, AuthenticationError   |
| 403                        | ServerPermissionDenied...| ModelPermissionDeniedError, PermissionDenied... |
| 404                        | ServerModelNotFound...   | LocalModelNotFoundError, NotFoundError          |
| 429                        | ServerRateLimitError     | ModelRateLimitError, RateLimitError             |
| 5xx, 408, 409              | ServerAPIError           | LocalEngineError, InternalServerError           |
| an error in mid-stream     | ServerStreamError        | LocalEngineError, APIError                      |
| no connection, or it broke | ServerConnectionError    | ModelConnectionError, APIConnectionError        |
| a timeout                  | ServerTimeoutError       | LocalTimeoutError, APITimeoutError              |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import openai
from langchain_core import exceptions as langchain

from langchain_vllm_local import _errors as local
from vllm_local import errors as engine

# Ours and vLLM's wordings, and those that LangChain's own match knows.
_CONTEXT_FULL = re.compile(
    r"maximum context length|maximum model length|context_length_exceeded|prompt is too long|"
    r"Input tokens exceed the configured limit|exceeds the context window|ContextWindowExceededError"
)
_MAX_LENGTH = re.compile(r"(?:maximum context length is|maximum model length of) (\d+)")
_PROMPT_LENGTH = re.compile(
    r"(?:contains(?: at least)?|prompt \(length|resulted in) (\d+)(?! characters)(?!\d)|\((\d+) in the messages"
)


class ServerInvalidRequestError(local.LocalInvalidRequestError, openai.BadRequestError):
    """A request that the server refuses as it stands."""

    def __init__(self, message: str, *, parameter: str | None = None, response: Any, body: object | None) -> None:
        """Has what both sides' errors have."""
        openai.BadRequestError.__init__(self, message, response=response, body=body)
        self.parameter = parameter


class ServerContextOverflowError(local.LocalContextOverflowError, openai.BadRequestError):
    """A prompt that does not fit the model's context, in the server's words."""

    def __init__(self, message: str, *, response: Any, body: object | None) -> None:
        """Reads the numbers from the message; 0 where it does not tell them: vLLM may count characters instead."""
        openai.BadRequestError.__init__(self, message, response=response, body=body)
        self.parameter = "input_tokens"
        self.max_model_len = _number(_MAX_LENGTH, message)
        self.num_prompt_tokens = _number(_PROMPT_LENGTH, message)

    def __reduce__(self) -> tuple[Callable[..., local.LocalContextOverflowError], tuple[str, int, int]]:  # type: ignore[override]
        """Pickles without the HTTP response, which cannot be."""
        return _without_response, (self.message, self.num_prompt_tokens, self.max_model_len)


def _without_response(message: str, num_prompt_tokens: int, max_model_len: int) -> local.LocalContextOverflowError:
    error = local.LocalContextOverflowError(num_prompt_tokens, max_model_len)
    error.args = (message,)
    return error


class ServerModelNotFoundError(local.LocalModelNotFoundError, openai.NotFoundError):
    """A model, or a route, that the server does not have."""


class ServerAuthenticationError(engine.VLLMLocalError, langchain.ModelAuthenticationError, openai.AuthenticationError):
    """A key that the server does not take."""


class ServerPermissionDeniedError(
    engine.VLLMLocalError, langchain.ModelPermissionDeniedError, openai.PermissionDeniedError
):
    """A key that does not allow this."""


class ServerRateLimitError(engine.EngineError, langchain.ModelRateLimitError, openai.RateLimitError):
    """Too many requests."""


class ServerAPIError(local.LocalEngineError, openai.InternalServerError):
    """A failure of the server."""


class ServerStreamError(local.LocalEngineError, openai.APIError):
    """A failure of the server in the middle of a stream."""


class ServerConnectionError(engine.EngineError, langchain.ModelConnectionError, openai.APIConnectionError):
    """A server that cannot be reached, or that broke the connection."""


class ServerTimeoutError(local.LocalTimeoutError, openai.APITimeoutError):
    """A request that took longer than its `timeout`."""

    def __init__(self, message: str, request: Any = None) -> None:
        """Takes the message, which OpenAI's class would not."""
        openai.APIConnectionError.__init__(self, message=message, request=request)


_BY_STATUS: Mapping[int, Any] = {
    401: ServerAuthenticationError,
    403: ServerPermissionDeniedError,
    404: ServerModelNotFoundError,
    429: ServerRateLimitError,
}
_REQUEST_STATUSES = frozenset({400, 413, 415, 422})


def translate_http(error: Exception, base_url: str) -> Exception:
    """Returns what the caller of a model is told.

    Args:
        error: What OpenAI's client, or LangChain's around it, raised.
        base_url: The server's address, for messages.
    """
    if isinstance(error, engine.VLLMLocalError):
        return error
    if isinstance(error, openai.APIStatusError):
        return _translate_status(error, base_url)
    if isinstance(error, (openai.APITimeoutError, TimeoutError)) or type(error).__name__ == "StreamChunkTimeoutError":
        message = f"The server at {base_url} did not answer in time: {error}"
        return ServerTimeoutError(message, getattr(error, "request", None))
    if isinstance(error, openai.APIConnectionError) or _is_transport_error(error):
        reason = _first_cause(error)
        message = f"The connection to the server at {base_url} failed: {type(reason).__name__}: {reason}"
        return ServerConnectionError(message=message, request=getattr(error, "request", None))  # type: ignore[arg-type]
    if isinstance(error, openai.APIError):
        return ServerStreamError(_message_of(error), error.request, body=error.body)
    return error


def _translate_status(error: openai.APIStatusError, base_url: str) -> Exception:
    message, status = _message_of(error), error.status_code
    given: dict[str, Any] = {"response": error.response, "body": error.body}
    if status in _REQUEST_STATUSES:
        if _CONTEXT_FULL.search(f"{message} {error.body}"):
            return ServerContextOverflowError(message, **given)
        return ServerInvalidRequestError(message, parameter=error.param, **given)
    if status == 401:
        hint = "Give its key as api_key=, or in the environment variable VLLM_LOCAL_API_KEY."
        return ServerAuthenticationError(f"The server at {base_url} refuses the key ({message}). {hint}", **given)
    if status == 404 and _is_unknown_route(error):
        hint = "Does base_url end where its /v1 is?"
        path = error.request.url.path
        return ServerModelNotFoundError(f"The server at {base_url} has no {path} ({message}). {hint}", **given)
    return _BY_STATUS.get(status, ServerAPIError)(message, **given)  # type: ignore[no-any-return]


def _is_unknown_route(error: openai.APIStatusError) -> bool:
    return not (isinstance(error.body, Mapping) and "message" in error.body)


def _message_of(error: openai.APIError) -> str:
    """Returns the server's own words, without OpenAI's "Error code: 400 - {...}" around them."""
    body = error.body
    if isinstance(body, Mapping):
        words = body.get("message") or body.get("detail")
        return words if isinstance(words, str) else error.message
    return body if isinstance(body, str) and body else error.message


def _first_cause(error: BaseException) -> BaseException:
    """Returns what OpenAI's client and LangChain have wrapped."""
    while isinstance(error, openai.APIConnectionError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_transport_error(error: Exception) -> bool:
    # OpenAI's client stands on httpx or httpx2, by version, and older ones let its errors out of streams.
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return bool(modules & {"httpx", "httpx2", "httpcore"}) or isinstance(error, ConnectionError)


def _number(pattern: re.Pattern[str], message: str) -> int:
    found = pattern.search(message)
    return int(next(filter(None, found.groups()))) if found else 0
