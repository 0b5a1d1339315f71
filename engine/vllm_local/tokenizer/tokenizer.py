"""A model's tokenizer: text to token ids and back, its special tokens and its chat templates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vllm_local.config import EngineConfig
from vllm_local.errors import CorruptModelError, InvalidRequestError
from vllm_local.tokenizer.backends import NativeBackend, TokenizerBackend, TransformersBackend, special_tokens_of
from vllm_local.tokenizer.tokenizer_files import DEFAULT_TEMPLATE_NAME, TokenizerFiles, read_tokenizer_files

_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class Tokenizer:
    """Encodes and decodes; safe to use from any number of threads.

    Attributes:
        special_tokens: Text of each special token by its name ("bos_token", …), as chat templates want them.
        special_token_ids: Ids that `skip_special_tokens` leaves out of a text.
        eos_token_ids: Every token that ends an answer of this model.
        bos_token_id: The beginning-of-sequence token, if the model has one.
        chat_templates: Jinja templates by name.
    """

    def __init__(self, backend: TokenizerBackend, files: TokenizerFiles) -> None:
        """Joins a backend with what the model's files say; see `from_path`."""
        self._backend = backend
        self.special_tokens: Mapping[str, str] = dict(files.special_tokens)
        self.special_token_ids = backend.special_token_ids
        self.chat_templates: Mapping[str, str] = dict(files.chat_templates)
        self.bos_token_id = self._named_token_id("bos_token")
        eos_token_id = self._named_token_id("eos_token")
        self.eos_token_ids = files.eos_token_ids | (frozenset() if eos_token_id is None else {eos_token_id})
        # Caches that the vocabulary bounds; a race costs one more look-up.
        self._token_texts: dict[int, str] = {}
        self._text_lengths: dict[int, int] = {}
        self.anchor_token_id = self._find_anchor()

    @classmethod
    def from_path(cls, path: Path, engine: EngineConfig | None = None, *, model_path: Path | None = None) -> Tokenizer:
        """Loads the tokenizer of a folder.

        Args:
            path: The tokenizer's folder.
            engine: Says whether code that ships with a checkpoint may run; not by default.
            model_path: The model's folder if it is another one; its configs name the end tokens.

        Raises:
            CorruptModelError: A file is damaged, or there is no tokenizer.
            ModelLoadError: transformers cannot load a tokenizer that has no tokenizer.json.
        """
        if not path.is_dir():
            raise CorruptModelError(f"The tokenizer's folder {path} does not exist.")
        files = read_tokenizer_files(path, model_path)
        if (path / "tokenizer.json").is_file():
            return cls(NativeBackend(files), files)
        backend = TransformersBackend(path, trust_remote_code=engine is not None and engine.trust_remote_code)
        tokenizer = cls(backend, files)
        tokenizer._adopt_special_tokens(special_tokens_of(backend))
        return tokenizer

    @property
    def vocab_size(self) -> int:
        """Token ids that the tokenizer knows, added tokens included; a model's embedding may have more rows."""
        return self._backend.vocab_size

    @property
    def definition(self) -> str | None:
        """The whole tokenizer as the text of a tokenizer.json, or None where it is of another kind."""
        return self._backend.definition

    @property
    def chat_template(self) -> str | None:
        """The model's usual chat template, or None."""
        return self.chat_templates.get(DEFAULT_TEMPLATE_NAME)

    @property
    def bos_token(self) -> str | None:
        """Text of the beginning-of-sequence token, if the model has one."""
        return self.special_tokens.get("bos_token")

    @property
    def eos_token(self) -> str | None:
        """Text of the tokenizer's own end token, if it has one."""
        return self.special_tokens.get("eos_token")

    @property
    def adds_bos_token(self) -> bool:
        """Whether `encode` with special tokens begins a text with the beginning-of-sequence token."""
        return self.bos_token_id is not None and self.encode("a")[:1] == [self.bos_token_id]

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Returns a text's token ids.

        Args:
            text: Any text; special tokens written out in it are recognised.
            add_special_tokens: Put around it what the model expects around a plain prompt, such as a first BOS. A
                rendered chat template has them already.

        Raises:
            InvalidRequestError: The text holds half a surrogate pair, which is no character.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            message = f"The text cannot be encoded: {error}. Replace what is no character before you send it."
            raise InvalidRequestError(message, parameter="prompt") from error
        return self._backend.encode(text, add_special_tokens)

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Returns the text of tokens; broken UTF-8 reads as U+FFFD, ids beyond the vocabulary as nothing."""
        return self._backend.decode(token_ids, skip_special_tokens)

    def convert_id_to_piece(self, token_id: int) -> str | None:
        """Returns the vocabulary's own spelling of a token ("Ġthe", "▁the"), or None for an id that is no token."""
        return self._backend.piece(token_id)

    def convert_piece_to_id(self, piece: str) -> int | None:
        """Returns the id of a token given as the vocabulary spells it, or None."""
        return self._backend.token_id(piece)

    def token_text(self, token_id: int) -> str:
        """Returns what a token adds to a text that it continues, so with its leading space; "" if it is no token."""
        text = self._token_texts.get(token_id)
        if text is None:
            text = self._token_texts[token_id] = self._decode_after_anchor(token_id)
        return text

    def text_length(self, token_id: int) -> int:
        """Returns the number of characters of a token's text at the beginning of a text."""
        length = self._text_lengths.get(token_id)
        if length is None:
            length = self._text_lengths[token_id] = len(self.decode([token_id], skip_special_tokens=False))
        return length

    def is_byte_piece(self, token_id: int) -> bool:
        """Whether a token stands for one byte ("<0x0A>") of a vocabulary that spells unknown characters so."""
        piece = self.convert_id_to_piece(token_id)
        return piece is not None and _BYTE_PIECE.fullmatch(piece) is not None

    def _named_token_id(self, name: str) -> int | None:
        token = self.special_tokens.get(name)
        return None if token is None else self._backend.token_id(token)

    def _adopt_special_tokens(self, found: Mapping[str, str]) -> None:
        self.special_tokens = {**found, **self.special_tokens}
        self.bos_token_id = self._named_token_id("bos_token")
        eos_token_id = self._named_token_id("eos_token")
        if eos_token_id is not None:
            self.eos_token_ids |= {eos_token_id}

    def _find_anchor(self) -> int | None:
        """Finds a plain token to decode others after, where a text's first token loses its space."""
        token_ids = self._backend.encode("a", False)
        plain = [token_id for token_id in token_ids if not self.is_byte_piece(token_id) and self.text_length(token_id)]
        return plain[-1] if plain else None

    def _decode_after_anchor(self, token_id: int) -> str:
        alone = self.decode([token_id], skip_special_tokens=False)
        if self.anchor_token_id is None:
            return alone
        anchor = self.decode([self.anchor_token_id], skip_special_tokens=False)
        joined = self.decode([self.anchor_token_id, token_id], skip_special_tokens=False)
        return joined[len(anchor) :] if joined.startswith(anchor) else alone
