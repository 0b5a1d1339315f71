"""Texts that need not be tokenised to be known as too long."""

from __future__ import annotations

from functools import cached_property

from vllm_local.async_llm import AsyncLLM
from vllm_local.errors import InvalidRequestError
from vllm_local.server.protocol.base import DeliveryFields

ALWAYS_READ = 2**20
"""Characters that are tokenised whatever the model: half a second's work, and 100 MB meanwhile."""
_MARGIN = 4
"""Tokenizers may drop characters, spaces mostly, before they look for pieces."""


class TextLimit:
    """How many characters a prompt can have at most.

    A body has room for 30 million tokens, over which a tokenizer spends a quarter of a minute and gigabytes.
    """

    def __init__(self, engine: AsyncLLM) -> None:
        """Takes the engine, whose tokenizer and context decide."""
        self._tokenizer = engine.tokenizer
        self._vocab_size = engine.config.model.vocab_size
        self._max_model_len = engine.config.max_model_len

    @cached_property
    def num_characters(self) -> int:
        """More than any text that fits into the context can have."""
        pieces = map(self._tokenizer.convert_id_to_piece, range(self._vocab_size))
        longest = max((len(piece) for piece in pieces if piece), default=1)
        return max(_MARGIN * longest * self._max_model_len, ALWAYS_READ)

    def check(self, text: str) -> str:
        """Returns a prompt's text.

        Raises:
            InvalidRequestError: It is too long, in the words of prompts that are.
        """
        if len(text) > ALWAYS_READ and len(text) > self.num_characters:
            message = (
                f"This model's maximum context length is {self._max_model_len} tokens. However, your prompt has "
                f"{len(text)} characters, which are more tokens than that. Please reduce the length of the input."
            )
            raise InvalidRequestError(message, parameter="input_tokens")
        return text

    def cut(self, text: str, request: DeliveryFields) -> str:
        """Returns as much of a text as matters to a request that cuts its prompt; of others, all, once checked.

        Raises:
            InvalidRequestError: It is too long, and not to be cut.
        """
        if request.truncate_prompt_tokens is None or len(text) <= ALWAYS_READ:
            return self.check(text)
        kept = self.num_characters
        return text[:kept] if request.truncation_side == "right" else text[-kept:]
