"""Where `chat` and `complete` get their answers: from an engine in this process, or from a server."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from vllm_local.cli.flags.arguments import Arguments
from vllm_local.cli.flags.flag import Flag
from vllm_local.cli.flags.values import integer, number
from vllm_local.sampling_params import RequestOutputKind

if TYPE_CHECKING:
    from vllm_local.async_llm import AsyncLLM
    from vllm_local.config import EngineConfig
    from vllm_local.input_processor import Prompt

Message = Mapping[str, str]
"""A message in OpenAI's shape."""

QUERY_FLAGS: tuple[Flag, ...] = (
    Flag(name="url", help="URL of a running server, such as http://localhost:8000/v1; else the model runs here."),
    Flag(name="model-name", help="The server's model; its first by default."),
    Flag(name="api-key", help="The server's key. Environment: VLLM_API_KEY."),
    Flag(name="max-tokens", type=integer, help="Most tokens of an answer."),
    Flag(name="temperature", type=number, help="0 always takes the most probable token; the model's own by default."),
)
"""Options of `chat` and `complete`; the first three, and what they do, are vLLM's."""


@dataclass(frozen=True)
class Piece:
    """A part of an answer.

    Attributes:
        text: Its text.
        num_tokens: Tokens generated for the answer so far; None where nobody has said yet.
    """

    text: str
    num_tokens: int | None = None


class AnswerSource(Protocol):
    """Something that answers, a piece at a time. Leaving an iterator early ends its request."""

    @property
    def model_name(self) -> str:
        """The model that answers."""

    def chat(self, messages: Sequence[Message]) -> Generator[Piece, None, None]:
        """Answers a conversation."""

    def complete(self, prompt: str) -> Generator[Piece, None, None]:
        """Continues a text."""

    def close(self) -> None:
        """Frees what it holds."""


class EngineSource:
    """An engine in this process."""

    def __init__(self, engine: AsyncLLM, sampling: Mapping[str, Any]) -> None:
        """Takes over an engine.

        Args:
            engine: It is closed with the source.
            sampling: Sampling parameters; None leaves one to the model.
        """
        self._engine = engine
        self._sampling = sampling

    @classmethod
    def load(cls, config: EngineConfig, sampling: Mapping[str, Any]) -> EngineSource:
        """Loads a model; see `AsyncLLM` for what can go wrong."""
        from vllm_local.async_llm import AsyncLLM

        return cls(AsyncLLM(config), sampling)

    @property
    def model_name(self) -> str:
        """The model that answers."""
        return self._engine.config.engine.model

    def chat(self, messages: Sequence[Message]) -> Generator[Piece, None, None]:
        """Answers a conversation."""
        return self._stream({"prompt_token_ids": self._engine.render(messages)}, {})

    def complete(self, prompt: str) -> Generator[Piece, None, None]:
        """Continues a text, by 16 tokens unless told otherwise, as a server does."""
        return self._stream(prompt, {"max_tokens": 16})

    def close(self) -> None:
        """Frees the model."""
        self._engine.close()

    def _stream(self, prompt: Prompt, defaults: Mapping[str, Any]) -> Generator[Piece, None, None]:
        given = {name: value for name, value in self._sampling.items() if value is not None}
        params = self._engine.default_sampling_params(**{**defaults, **given}, output_kind=RequestOutputKind.DELTA)
        with self._engine.submit(prompt, params) as stream:
            for output in stream:
                yield Piece("".join(answer.text for answer in output.outputs), output.num_generated_tokens)


@contextlib.contextmanager
def open_source(arguments: Arguments) -> Iterator[AnswerSource]:
    """Gives the source that a command line names, and closes it in the end.

    Raises:
        VLLMLocalError: The server cannot be reached, or the model cannot be loaded.
    """
    sampling = {"max_tokens": arguments["max_tokens"], "temperature": arguments["temperature"]}
    source: AnswerSource
    if arguments["url"] is None:
        source = EngineSource.load(arguments.engine_config(), sampling)
    else:
        from vllm_local.cli.http_source import HTTPSource

        source = HTTPSource.connect(arguments["url"], arguments["api_key"], arguments["model_name"], sampling)
    try:
        yield source
    finally:
        source.close()
