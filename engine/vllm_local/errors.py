"""The one error hierarchy of the engine.

    VLLMLocalError
    ├── InvalidRequestError          the caller's fault: one request, nobody else is touched
    │   ├── ContextLengthError       the prompt (or the prompt and its answer) can never fit
    │   ├── ChatTemplateError        the messages cannot be rendered by the model's template
    │   └── UnsupportedInputError    a kind of input that this model or version cannot take
    ├── InvalidConfigError           an engine argument is wrong
    ├── ModelLoadError               the model's files cannot be used
    │   ├── ModelNotFoundError       neither a folder nor a model on the hub
    │   ├── UnsupportedModelError    an architecture or a file format that is not supported
    │   └── CorruptModelError        a file is damaged, or a weight is missing or misshapen
    ├── InsufficientMemoryError      the weights or the KV cache do not fit
    └── EngineError                  our fault, or the end of the engine
        ├── EngineDeadError          the engine thread ended with an error
        └── EngineClosedError        the engine was shut down, or belongs to a parent process

Every message says what was wrong, where, and what to do.
"""

from __future__ import annotations


class VLLMLocalError(Exception):
    """Base of every error that `vllm_local` raises on purpose."""


class InvalidRequestError(VLLMLocalError, ValueError):
    """A request that cannot be served as it stands.

    Attributes:
        parameter: Name of the offending parameter, or None where no single one is to blame.
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        """Keeps the offending parameter's name beside the message."""
        super().__init__(message)
        self.parameter = parameter


class ContextLengthError(InvalidRequestError):
    """A prompt that does not fit the model's context or the KV cache.

    Attributes:
        num_prompt_tokens: Length of the prompt in tokens.
        max_model_len: The longest prompt and answer together, in tokens.
    """

    def __init__(self, num_prompt_tokens: int, max_model_len: int) -> None:
        """Words the message as vLLM does; agents match on that text."""
        super().__init__(
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains "
            f"{num_prompt_tokens} input tokens, which leaves no room for an answer. Please reduce the length "
            f"of the input to at most {max_model_len - 1} tokens.",
            parameter="input_tokens",
        )
        self.num_prompt_tokens = num_prompt_tokens
        self.max_model_len = max_model_len

    def __reduce__(self) -> tuple[type[ContextLengthError], tuple[int, int]]:
        """Pickles by its numbers, not by its message."""
        return type(self), (self.num_prompt_tokens, self.max_model_len)


class ChatTemplateError(InvalidRequestError):
    """Messages that the model's chat template refuses."""


class UnsupportedInputError(InvalidRequestError):
    """A kind of input (an image, say) that the model or this version cannot take."""


class InvalidConfigError(VLLMLocalError, ValueError):
    """An engine argument that is wrong by itself or beside another."""


class ModelLoadError(VLLMLocalError):
    """A model that cannot be loaded."""


class ModelNotFoundError(ModelLoadError):
    """A model id that is neither a folder nor to be had from the hub."""


class UnsupportedModelError(ModelLoadError):
    """A model whose architecture, weights or code this engine does not run."""


class CorruptModelError(ModelLoadError):
    """A model whose files are damaged, incomplete or do not fit its config."""


class InsufficientMemoryError(VLLMLocalError, MemoryError):
    """Weights or KV cache that do not fit in the memory that is left."""


class EngineError(VLLMLocalError):
    """A failure that is not the caller's."""


class EngineDeadError(EngineError):
    """The engine thread ended with an error, which is this error's `__cause__`."""


class EngineClosedError(EngineError):
    """The engine was shut down, or belongs to a parent process."""


EXIT_STATUSES: tuple[tuple[type[VLLMLocalError], int], ...] = (
    (InvalidConfigError, 2),
    (ModelNotFoundError, 3),
    (UnsupportedModelError, 4),
    (CorruptModelError, 5),
    (InsufficientMemoryError, 6),
    (ModelLoadError, 7),
    (VLLMLocalError, 1),
)
"""With what status a program ends that one of these ends; the first that fits counts."""
