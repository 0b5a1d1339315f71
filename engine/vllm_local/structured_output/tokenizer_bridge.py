"""Our tokenizer as llguidance needs it: the bytes of each token, which tokens are special, and how text is cut."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from llguidance import LLTokenizer

from vllm_local.tokenizer.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

_PLAIN = re.compile(rb"[A-Za-z ,.!?\x80-\xff]+")
_SLICES = [r"[^\"\\\x00-\x1F\x7F]{1,10}", r"[^\"\\\x00-\x1F\x7F]{1,30}", r"[^\"\\\x00-\x1F\x7F]+"]
"""Kinds of token that llguidance masks as one, because the inside of a JSON string allows them all."""


class TokenizerBridge:
    """What grammars over a model's tokens share; safe to use from any number of threads.

    Attributes:
        ll_tokenizer: llguidance's own.
        vocab_size: Rows of the model's embedding; a bitmask has as many bits.
        eos_token_ids: Tokens that end an answer, in ascending order.
        end_mask: They, as a bitmask over llguidance's vocabulary, 32 tokens to an int32.
        plain_mask: The tokens of whole characters that mean nothing to JSON, regular expressions or tags.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        """Reads the vocabulary, which takes about a second where it is large.

        Args:
            tokenizer: The model's.
            vocab_size: Rows of the model's embedding; those beyond the tokenizer's are never allowed.
        """
        self._tokenizer = tokenizer
        self.vocab_size = vocab_size
        end_tokens = sorted(token_id for token_id in tokenizer.eos_token_ids if token_id < tokenizer.vocab_size)
        self.eos_token_ids = tuple(token_id for token_id in end_tokens if token_id < vocab_size)
        size = max(vocab_size, tokenizer.vocab_size)
        self.ll_tokenizer = self._load(size, list(self.eos_token_ids) or [tokenizer.vocab_size - 1])
        self.end_mask = self._mask(set(self.eos_token_ids).__contains__)
        self.plain_mask = self._mask(self._is_plain)

    def special_tokens(self) -> dict[str, int]:
        """Returns the texts and ids of all special tokens."""
        found: dict[str, int] = {}
        for token_id in range(self._tokenizer.vocab_size):
            piece = self._tokenizer.convert_id_to_piece(token_id)
            if piece is not None and len(piece) > 1 and self.ll_tokenizer.is_special_token(token_id):
                found[piece] = token_id
        return found

    def tokenize(self, text: bytes, *, parse_special: bool = False) -> list[int]:
        """Cuts bytes into tokens as the model has learnt it.

        Args:
            text: In UTF-8, or pieces of it.
            parse_special: Take the texts of special tokens for these tokens.
        """
        return list(self.ll_tokenizer.tokenize_bytes(text, parse_special=parse_special))

    def bytes_of(self, token_ids: Sequence[int]) -> bytes:
        """Returns the bytes that tokens stand for."""
        return bytes(self.ll_tokenizer.decode_bytes(list(token_ids)))

    def is_special(self, token_id: int) -> bool:
        """Whether a token stands for itself, not for text."""
        return bool(self.ll_tokenizer.is_special_token(token_id))

    def _load(self, size: int, eos_token_ids: list[int]) -> LLTokenizer:
        definition = self._tokenizer.definition
        if definition is not None:
            try:
                return LLTokenizer(definition, n_vocab=size, eos_token=eos_token_ids, slices=_SLICES)
            except ValueError as error:
                logger.info("llguidance does not read this tokenizer's definition (%s); its tokens' texts do", error)
        wrapper: Any = _PieceWise(self._tokenizer, eos_token_ids[0])
        return LLTokenizer(wrapper, n_vocab=size, eos_token=eos_token_ids)

    def _is_plain(self, token_id: int) -> bool:
        if token_id >= self._tokenizer.vocab_size or self.is_special(token_id):
            return False
        text = self.bytes_of([token_id])
        return _PLAIN.fullmatch(text) is not None and "\ufffd" not in text.decode(errors="replace")

    def _mask(self, is_member: Callable[[int], bool]) -> npt.NDArray[np.int32]:
        size = self.ll_tokenizer.vocab_size
        bits = np.zeros((size + 31) // 32 * 32, dtype=np.uint8)
        bits[:size] = [is_member(token_id) for token_id in range(size)]
        return np.packbits(bits, bitorder="little").view(np.int32)


class _PieceWise:
    """A tokenizer of any kind, by the text of each token alone, in the form that llguidance asks for."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, eos_token_id: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = eos_token_id
        self.special_token_ids = sorted({*tokenizer.special_token_ids, *tokenizer.eos_token_ids})
        self.tokens = [self._bytes(token_id) for token_id in range(tokenizer.vocab_size)]
        special = set(self.special_token_ids)
        self._ids = {text: token_id for token_id, text in enumerate(self.tokens) if text and token_id not in special}
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: str | bytes) -> list[int]:
        """Cuts text by the longest token each time: a model of another kind would add spaces that are not there."""
        rest = text.encode() if isinstance(text, str) else text
        token_ids: list[int] = []
        while rest:
            lengths = range(min(self._longest, len(rest)), 0, -1)
            length = next((length for length in lengths if rest[:length] in self._ids), None)
            if length is not None:
                token_ids.append(self._ids[rest[:length]])
            rest = rest[length or 1 :]
        return token_ids

    def _bytes(self, token_id: int) -> bytes:
        if self._tokenizer.is_byte_piece(token_id):
            piece: Any = self._tokenizer.convert_id_to_piece(token_id)
            return bytes([int(piece[3:5], 16)])
        text = self._tokenizer.token_text(token_id)
        # A token that is half a character reads as U+FFFD; it cannot be told which half.
        return b"" if "\ufffd" in text else text.encode()
