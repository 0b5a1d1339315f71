"""The engine's errors as LangChain's: each class here is both, so that code which catches either goes on working.

| vllm_local                   | langchain_core                                                             |
|------------------------------|----------------------------------------------------------------------------|
| ContextLengthError           | ContextOverflowError                                                       |
| InvalidRequestError, -Config | ModelInvalidRequestError                                                   |
| ModelNotFoundError           | ModelNotFoundError                                                         |
| other ModelLoadError         | ModelError: a retry would not help                                         |
| InsufficientMemoryError      | ModelError, likewise                                                       |
| EngineClosedError            | ModelConnectionError: retryable, since the next call loads the engine anew |
| other EngineError            | ModelAPIError: retryable, likewise                                         |
| (a timeout)                  | ModelTimeoutError                                                          |

What comes from a server is of these classes too, and of OpenAI's on top (`_server_errors.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from langchain_core import exceptions as langchain

from vllm_local import errors as engine


class LocalInvalidRequestError(engine.InvalidRequestError, langchain.ModelInvalidRequestError):
    """A request that cannot be served as it stands."""


class LocalContextOverflowError(engine.ContextLengthError, langchain.ContextOverflowError):
    """A prompt that does not fit the model's context."""


class LocalChatTemplateError(engine.ChatTemplateError, langchain.ModelInvalidRequestError):
    """Messages that the model's chat template refuses."""


class LocalUnsupportedInputError(engine.UnsupportedInputError, langchain.ModelInvalidRequestError):
    """A kind of input that the model or this version cannot take."""


class LocalInvalidConfigError(engine.InvalidConfigError, langchain.ModelInvalidRequestError):
    """An engine argument that is wrong by itself or for this model."""


class LocalModelNotFoundError(engine.ModelNotFoundError, langchain.ModelNotFoundError):
    """A model id that is neither a folder nor to be had from the hub."""


class LocalUnsupportedModelError(engine.UnsupportedModelError, langchain.ModelError):
    """A model that the engine does not run."""


class LocalCorruptModelError(engine.CorruptModelError, langchain.ModelError):
    """A model whose files are damaged."""


class LocalModelLoadError(engine.ModelLoadError, langchain.ModelError):
    """A model that cannot be loaded for another reason."""


class LocalInsufficientMemoryError(engine.InsufficientMemoryError, langchain.ModelError):
    """A model that does not fit in the memory that is left."""


class LocalEngineDeadError(engine.EngineDeadError, langchain.ModelAPIError):
    """An engine whose thread ended with an error."""


class LocalEngineClosedError(engine.EngineClosedError, langchain.ModelConnectionError):
    """An engine that was shut down."""


class LocalServerStartError(engine.EngineError, langchain.ModelError):
    """A server that ended while it was starting; the message has the end of its log."""


class LocalServerDeadError(engine.EngineDeadError, langchain.ModelAPIError):
    """A server that has ended by itself; the next call starts another."""


class LocalEngineError(engine.EngineError, langchain.ModelAPIError):
    """Another failure that is not the caller's."""


class LocalTimeoutError(engine.EngineError, langchain.ModelTimeoutError, TimeoutError):
    """A request that took longer than its `timeout`; it was aborted."""


class LocalRequestAbortedError(engine.EngineError, langchain.ModelAPIError):
    """A request that somebody aborted before its answer was complete."""


# The first class that matches wins: subclasses stand before their bases.
_TRANSLATIONS: tuple[tuple[type[engine.VLLMLocalError], type[engine.VLLMLocalError]], ...] = (
    (engine.ChatTemplateError, LocalChatTemplateError),
    (engine.UnsupportedInputError, LocalUnsupportedInputError),
    (engine.InvalidRequestError, LocalInvalidRequestError),
    (engine.InvalidConfigError, LocalInvalidConfigError),
    (engine.ModelNotFoundError, LocalModelNotFoundError),
    (engine.UnsupportedModelError, LocalUnsupportedModelError),
    (engine.CorruptModelError, LocalCorruptModelError),
    (engine.ModelLoadError, LocalModelLoadError),
    (engine.InsufficientMemoryError, LocalInsufficientMemoryError),
    (engine.EngineDeadError, LocalEngineDeadError),
    (engine.EngineClosedError, LocalEngineClosedError),
    (engine.EngineError, LocalEngineError),
)

_MEMORY_HINT = "shutdown() frees a chat model's engine, ChatVLLMLocal.shutdown_all() those of all."
_ATTACH_HINT = 'backend="vllm" or base_url= run it elsewhere: docs/scale-out.md.'


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Raises what the engine raises inside the block as an error that is LangChain's too.

    The original is the new error's `__cause__`.
    """
    try:
        yield
    except langchain.ModelError:
        raise
    except engine.VLLMLocalError as error:
        raise translate(error) from error


def translate(error: engine.VLLMLocalError) -> Exception:
    """Returns the error as one that is also of LangChain's class for it.

    Args:
        error: An error of the engine's hierarchy.
    """
    if isinstance(error, engine.ContextLengthError):
        return LocalContextOverflowError(error.num_prompt_tokens, error.max_model_len)
    target = next((to for of, to in _TRANSLATIONS if isinstance(error, of)), LocalEngineError)
    if isinstance(error, engine.InvalidRequestError) and issubclass(target, engine.InvalidRequestError):
        return target(str(error), parameter=error.parameter)
    if isinstance(error, (engine.ModelNotFoundError, engine.UnsupportedModelError)):
        return target(f"{error} {_ATTACH_HINT}")
    if isinstance(error, engine.InsufficientMemoryError):
        return target(f"{error} {_MEMORY_HINT}")
    return target(str(error))
