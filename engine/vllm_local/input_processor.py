"""From what a caller types to Requests: everything that can be wrong with a request is found here, by the caller."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeAlias

from vllm_local.config import ResolvedConfig
from vllm_local.errors import ContextLengthError, InvalidRequestError, UnsupportedInputError
from vllm_local.output_collector import OutputCollector
from vllm_local.request import Grammar, Request
from vllm_local.sampling_params import SamplingParams
from vllm_local.structured_output.compiler import GrammarCompiler
from vllm_local.tokenizer.tokenizer import Tokenizer

Prompt: TypeAlias = str | Sequence[int] | Mapping[str, Any]
"""A text, token ids, or a mapping with "prompt" or "prompt_token_ids" (vLLM's TextPrompt and TokensPrompt)."""

_PROMPT_KEYS = ("prompt", "prompt_token_ids", "cache_salt")


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A valid request, and where its answers will be found."""

    requests: list[Request]
    collector: OutputCollector


class InputProcessor:
    """Validates, tokenises and numbers requests, and compiles their grammars; safe to use from many threads."""

    def __init__(self, config: ResolvedConfig, tokenizer: Tokenizer) -> None:
        """Takes the model's limits from the config.

        Args:
            config: The engine's.
            tokenizer: The model's.
        """
        self._tokenizer = tokenizer
        self._vocab_size = config.model.vocab_size
        # A config may name, and a tokenizer may hold, tokens that the model has no row for.
        self._eos_token_ids = frozenset(item for item in tokenizer.eos_token_ids if item < self._vocab_size)
        self._grammars = GrammarCompiler(tokenizer, self._vocab_size)
        self._max_model_len = min(config.max_model_len, config.kv_cache.num_tokens)
        self._enable_prefix_caching = config.engine.enable_prefix_caching
        self._serial_numbers = itertools.count(1)
        self._seeds = None if config.engine.seed is None else random.Random(config.engine.seed)

    def prepare(
        self,
        prompt: Prompt,
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
        cache_salt: str | None = None,
    ) -> PreparedRequest:
        """Makes a request's n Requests and their collector.

        Args:
            prompt: A text, token ids, or a mapping with either.
            params: How to sample.
            request_id: The caller's name for it; one is made up by default.
            priority: Lower runs first, where the scheduling policy is "priority".
            cache_salt: Prefixes are shared only with requests of the same salt.

        Raises:
            InvalidRequestError: An argument is wrong.
            ContextLengthError: The prompt leaves no room for an answer.
        """
        if not isinstance(params, SamplingParams):
            raise InvalidRequestError(f"sampling_params must be SamplingParams, got {type(params).__name__}.")
        if isinstance(prompt, Mapping):
            cache_salt = cache_salt if cache_salt is not None else prompt.get("cache_salt")
        _check_extras(request_id, priority, cache_salt)
        text, token_ids = self._read_prompt(prompt)
        params = self._fit(params, len(token_ids))
        serial_number = next(self._serial_numbers)
        request_id = request_id or f"request-{serial_number}"
        # The scheduler's ids are unique even where a caller uses an id again.
        choice_ids = [f"{request_id}#{serial_number}.{index}" for index in range(params.n)]
        keys = self._prefix_keys(cache_salt, choice_ids)
        seed = self._seed(params)
        bad_words = self._encode_bad_words(params.bad_words)
        requests = [
            Request(
                request_id=choice_id,
                prompt_token_ids=token_ids,
                sampling_params=params,
                eos_token_ids=self._eos_token_ids,
                priority=priority,
                choice_index=index,
                seed=seed,
                prefix_keys=keys,
                bad_words_token_ids=bad_words,
                grammar=self._compile_grammar(params),
            )
            for index, choice_id in enumerate(choice_ids)
        ]
        collector = OutputCollector(
            request_id=request_id,
            choice_ids=choice_ids,
            prompt=text,
            prompt_token_ids=token_ids,
            output_kind=params.output_kind,
        )
        return PreparedRequest(requests, collector)

    def begin_grammar(self, params: SamplingParams) -> Future[Any] | None:
        """Begins to compile what an answer must look like, and waits for nothing; `prepare` waits for the rest.

        Returns:
            What may be waited for before `prepare`, which raises its errors; None where there is nothing to compile.

        Raises:
            InvalidRequestError: A structural tag is malformed.
        """
        form = params.structured_outputs if isinstance(params, SamplingParams) else None
        return None if form is None else self._grammars.begin(form)

    def _read_prompt(self, prompt: Prompt) -> tuple[str | None, list[int]]:
        """Returns the prompt's text, where there is one, and its tokens."""
        text, ids = _split_prompt(prompt)
        token_ids = self._encode(text or "") if ids is None else self._check_token_ids(ids)
        if not token_ids:
            raise InvalidRequestError("The prompt cannot be empty; give it at least one token.", parameter="prompt")
        if len(token_ids) >= self._max_model_len:
            raise ContextLengthError(len(token_ids), self._max_model_len)
        return text, token_ids

    def _encode(self, text: str) -> list[int]:
        token_ids = self._tokenizer.encode(text)
        largest = max(token_ids, default=0)
        if largest >= self._vocab_size:
            message = (
                f"The tokenizer reads token {largest} ({self._tokenizer.token_text(largest)!r}) in the prompt, but the "
                f"model's vocabulary ends at {self._vocab_size - 1}: it is another model's. Choose another tokenizer=."
            )
            raise InvalidRequestError(message, parameter="prompt")
        return token_ids

    def _encode_bad_words(self, words: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Returns the tokens of each word at the beginning of a text and, where they differ, after a space."""
        encoded: list[tuple[int, ...]] = []
        for word in words:
            plain, spaced = (self._encode_word(prefix + word.lstrip()) for prefix in ("", " "))
            if not plain:
                message = f"bad_words holds {word!r}, which the model's tokenizer makes no token of."
                raise InvalidRequestError(message, parameter="bad_words")
            encoded.append(plain)
            # vLLM wants equal lengths as well, and so lets " fox" through where that is one token and "fox" two.
            if spaced and spaced[-len(plain) :] != plain:
                encoded.append(spaced)
        return tuple(encoded)

    def _encode_word(self, text: str) -> tuple[int, ...]:
        token_ids = tuple(self._tokenizer.encode(text, add_special_tokens=False))
        if max(token_ids, default=0) >= self._vocab_size:
            message = (
                f"bad_words holds {text!r}, whose token {max(token_ids)} the model does not have: its vocabulary ends "
                f"at {self._vocab_size - 1}."
            )
            raise InvalidRequestError(message, parameter="bad_words")
        return token_ids

    def _check_token_ids(self, ids: Sequence[Any]) -> list[int]:
        token_ids = list(ids)
        wrong = [item for item in token_ids if isinstance(item, bool) or not isinstance(item, int)]
        if wrong:
            message = f"A prompt's token ids must be integers, got {wrong[0]!r}."
            raise InvalidRequestError(message, parameter="prompt_token_ids")
        outside = [token_id for token_id in token_ids if not 0 <= token_id < self._vocab_size]
        if outside:
            message = f"Token id {outside[0]} is out of vocabulary, whose ids go from 0 to {self._vocab_size - 1}."
            raise InvalidRequestError(message, parameter="prompt_token_ids")
        return token_ids

    def _fit(self, params: SamplingParams, num_prompt_tokens: int) -> SamplingParams:
        """Checks the parameters and, as vLLM does, silently cuts `max_tokens` to the room that is left.

        A grammar ends its answer where it is fulfilled, whatever `ignore_eos` says.
        """
        params.validate_for(self._vocab_size, self._max_model_len)
        ending = self._eos_token_ids.union(params.stop_token_ids)
        if params.min_tokens and params.allowed_token_ids is not None and ending.issuperset(params.allowed_token_ids):
            message = f"allowed_token_ids holds nothing but end tokens, which min_tokens={params.min_tokens} forbids."
            raise InvalidRequestError(message, parameter="allowed_token_ids")
        if params.structured_outputs is not None:
            _check_structured(params)
            params = dataclasses.replace(params, ignore_eos=False)
        room = self._max_model_len - num_prompt_tokens
        if params.max_tokens is not None and params.max_tokens <= room:
            return params
        return dataclasses.replace(params, max_tokens=room, min_tokens=min(params.min_tokens, room))

    def _compile_grammar(self, params: SamplingParams) -> Grammar | None:
        """Returns a grammar of its own for one answer."""
        assert params.max_tokens is not None, "_fit makes it a number"
        form, budget = params.structured_outputs, params.thinking_budget
        grammar = None if form is None else self._grammars.compile(form, params.max_tokens)
        return grammar if budget is None else self._grammars.limit_thinking(grammar, budget)

    def _prefix_keys(self, cache_salt: str | None, choice_ids: list[str]) -> tuple[str, ...] | None:
        if self._enable_prefix_caching:
            return () if cache_salt is None else (cache_salt,)
        # The answers to one prompt share it even so; nobody else knows the key.
        return None if len(choice_ids) == 1 else (choice_ids[0],)

    def _seed(self, params: SamplingParams) -> int:
        if params.seed is not None:
            return params.seed
        if self._seeds is not None:
            return self._seeds.getrandbits(63)
        return int.from_bytes(os.urandom(8), "little") >> 1


def _check_structured(params: SamplingParams) -> None:
    """Refuses what would leave a grammar without a token to choose."""
    if params.min_tokens:
        message = f"min_tokens={params.min_tokens} cannot be kept with structured_outputs, which say where to end."
        raise InvalidRequestError(message, parameter="min_tokens")


def _split_prompt(prompt: Prompt) -> tuple[str | None, Sequence[Any] | None]:
    if isinstance(prompt, str):
        return prompt, None
    if isinstance(prompt, Mapping):
        return _split_mapping(prompt)
    if isinstance(prompt, Sequence) and not isinstance(prompt, (bytes, bytearray)):
        return None, prompt
    message = (
        f"A prompt must be a text, a list of token ids, or a dict with 'prompt' or 'prompt_token_ids', "
        f"got {type(prompt).__name__}."
    )
    raise InvalidRequestError(message, parameter="prompt")


def _split_mapping(prompt: Mapping[str, Any]) -> tuple[str | None, Sequence[Any] | None]:
    unknown = [key for key, value in prompt.items() if key not in _PROMPT_KEYS and value is not None]
    if unknown:
        message = f"A prompt with {unknown[0]!r} is not supported; it takes {', '.join(_PROMPT_KEYS)}."
        raise UnsupportedInputError(message, parameter="prompt")
    text, token_ids = prompt.get("prompt"), prompt.get("prompt_token_ids")
    if text is None and token_ids is None:
        raise InvalidRequestError("A prompt dict needs 'prompt' or 'prompt_token_ids'.", parameter="prompt")
    if not (text is None or isinstance(text, str)):
        raise InvalidRequestError(f"'prompt' must be a text, got {type(text).__name__}.", parameter="prompt")
    if not (token_ids is None or (isinstance(token_ids, Sequence) and not isinstance(token_ids, (str, bytes)))):
        message = f"'prompt_token_ids' must be a list of integers, got {type(token_ids).__name__}."
        raise InvalidRequestError(message, parameter="prompt_token_ids")
    return text, token_ids


def _check_extras(request_id: object, priority: object, cache_salt: object) -> None:
    if not (request_id is None or (isinstance(request_id, str) and request_id)):
        message = f"request_id must be a text that is not empty, got {request_id!r}."
        raise InvalidRequestError(message, parameter="request_id")
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise InvalidRequestError(f"priority must be an integer, got {priority!r}.", parameter="priority")
    if not (cache_salt is None or (isinstance(cache_salt, str) and cache_salt)):
        message = f"cache_salt must be a text that is not empty, got {cache_salt!r}."
        raise InvalidRequestError(message, parameter="cache_salt")
