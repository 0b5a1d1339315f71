"""The two libraries behind `Tokenizer`: `tokenizers` where there is a tokenizer.json, transformers elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import tokenizers

from vllm_local.errors import CorruptModelError, ModelLoadError
from vllm_local.tokenizer.tokenizer_files import TokenizerFiles, token_text

LONG_TEXT = 2**15
"""Characters that take more than 10 milliseconds to tokenise."""


class TokenizerBackend(Protocol):
    """What `Tokenizer` needs of a library."""

    @property
    def vocab_size(self) -> int:
        """Token ids, added tokens included."""

    @property
    def special_token_ids(self) -> frozenset[int]:
        """Ids that `skip_special_tokens` leaves out."""

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        """Returns the text's token ids."""

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool) -> str:
        """Returns the tokens' text; ids that are no token have none."""

    def piece(self, token_id: int) -> str | None:
        """Returns the vocabulary's own spelling of a token, or None for an id that is no token."""

    def token_id(self, token: str) -> int | None:
        """Returns the id of a token given as the vocabulary spells it, or None."""

    @property
    def definition(self) -> str | None:
        """The tokenizer as the text of a tokenizer.json, if it can be one."""


class NativeBackend:
    """A tokenizer.json, run by the `tokenizers` library.

    Where a BOS goes is its post-processor's word; transformers 5 ignores `add_bos_token` beside a tokenizer.json too.
    """

    def __init__(self, files: TokenizerFiles) -> None:
        """Loads it and brings it to what transformers would make of the same folder.

        Raises:
            CorruptModelError: The file is damaged.
        """
        path = files.folder / "tokenizer.json"
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust library raises bare Exception
            raise CorruptModelError(f"{path} is no readable tokenizer ({error}); fetch it again.") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._add_missing_tokens(files)
        added = self._tokenizer.get_added_tokens_decoder()
        self._special_token_ids = frozenset(token_id for token_id, token in added.items() if token.special)
        self._vocab_size = self._tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def vocab_size(self) -> int:
        """Token ids, added tokens included."""
        return self._vocab_size

    @property
    def special_token_ids(self) -> frozenset[int]:
        """Ids that `skip_special_tokens` leaves out."""
        return self._special_token_ids

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        """Returns the text's token ids."""
        if len(text) < LONG_TEXT:
            return self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        # Of the library's two ways, the one that lets other threads run meanwhile: the engine's, the event loop's.
        return self._tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)[0].ids

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool) -> str:
        """Returns the tokens' text."""
        return self._tokenizer.decode(token_ids, skip_special_tokens=skip_special_tokens)

    def piece(self, token_id: int) -> str | None:
        """Returns the vocabulary's own spelling of a token."""
        return self._tokenizer.id_to_token(token_id)

    def token_id(self, token: str) -> int | None:
        """Returns the id of a token given as the vocabulary spells it."""
        return self._tokenizer.token_to_id(token)

    @property
    def definition(self) -> str | None:
        """The tokenizer as the text of a tokenizer.json."""
        return self._tokenizer.to_str()

    def _add_missing_tokens(self, files: TokenizerFiles) -> None:
        """Adds what tokenizer_config.json declares and an older tokenizer.json lacks, in the order of the ids."""
        declared = files.config.get("added_tokens_decoder")
        items = declared.items() if isinstance(declared, dict) else ()
        by_id = {int(token_id): token for token_id, token in items if token_id.isdecimal()}
        for token_id, token in sorted(by_id.items()):
            text = token_text(token)
            if text is not None and self.token_id(text) is None and token_id == self._tokenizer.get_vocab_size():
                self._tokenizer.add_tokens([_as_added_token(text, token)])
        added = {token.content for token in self._tokenizer.get_added_tokens_decoder().values()}
        named = (*files.special_tokens.values(), *files.extra_special_tokens)
        # A special token that the vocabulary lacks would get an id beyond the model's embedding.
        missing = [text for text in dict.fromkeys(named) if text not in added and self.token_id(text) is not None]
        self._tokenizer.add_special_tokens([tokenizers.AddedToken(text, special=True) for text in missing])


def _as_added_token(text: str, token: object) -> tokenizers.AddedToken:
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    given = token if isinstance(token, dict) else {}
    return tokenizers.AddedToken(text, **{flag: given[flag] for flag in flags if isinstance(given.get(flag), bool)})


class TransformersBackend:
    """Any other tokenizer, run by transformers' AutoTokenizer."""

    def __init__(self, folder: Path, *, trust_remote_code: bool) -> None:
        """Loads it from a local folder.

        Raises:
            ModelLoadError: transformers cannot make a tokenizer of the folder.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), trust_remote_code=trust_remote_code, local_files_only=True
            )
        except Exception as error:  # transformers raises whatever its tokenizer classes raise
            message = (
                f"{folder} holds no tokenizer.json, and transformers cannot load its tokenizer either "
                f"({type(error).__name__}: {error}). Fetch the missing files, install what the tokenizer needs "
                "(sentencepiece, tiktoken), or name another with tokenizer=; code that ships with a checkpoint runs "
                "only with trust_remote_code=True."
            )
            raise ModelLoadError(message) from error
        self.tokenizer: Any = tokenizer
        # transformers' tokenizers set padding and truncation before they encode, and fail if two threads do.
        self._lock = threading.Lock()
        self._special_token_ids = frozenset(int(token_id) for token_id in self.tokenizer.all_special_ids)

    @property
    def vocab_size(self) -> int:
        """Token ids, added tokens included."""
        return len(self.tokenizer)

    @property
    def special_token_ids(self) -> frozenset[int]:
        """Ids that `skip_special_tokens` leaves out."""
        return self._special_token_ids

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        """Returns the text's token ids."""
        with self._lock:
            token_ids = self.tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return [int(token_id) for token_id in token_ids]

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool) -> str:
        """Returns the tokens' text."""
        known = [token_id for token_id in token_ids if token_id < self.vocab_size]
        return str(
            self.tokenizer.decode(known, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False)
        )

    def piece(self, token_id: int) -> str | None:
        """Returns the vocabulary's own spelling of a token."""
        if token_id >= self.vocab_size:
            return None
        piece = self.tokenizer.convert_ids_to_tokens(token_id)
        return None if piece is None else str(piece)

    def token_id(self, token: str) -> int | None:
        """Returns the id of a token given as the vocabulary spells it."""
        token_id = self.tokenizer.get_vocab().get(token)
        return None if token_id is None else int(token_id)

    @property
    def definition(self) -> str | None:
        """The tokenizer as the text of a tokenizer.json, where the `tokenizers` library is behind it."""
        with self._lock:
            behind = getattr(self.tokenizer, "backend_tokenizer", None)
            return behind.to_str() if isinstance(behind, tokenizers.Tokenizer) else None


def special_tokens_of(backend: TransformersBackend) -> dict[str, str]:
    """Returns what transformers found out about special tokens, by name."""
    found = backend.tokenizer.special_tokens_map
    return {name: str(token) for name, token in found.items() if not isinstance(token, (list, tuple, dict))}
