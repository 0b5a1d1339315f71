"""An answer's text, token by token: UTF-8 safe, with stop strings, at constant cost a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vllm_local.tokenizer.stop_strings import StopStringMatcher
from vllm_local.tokenizer.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"
_MAX_UNDECIDED = 3
"""Replacement characters at the end that more bytes may still turn into a character (UTF-8 has at most four)."""
_MAX_WINDOW = 32
_KEPT_OF_WINDOW = 16
"""Tokens; when a window of nothing but broken UTF-8 grows beyond the first, it is cut to the second."""
_MAX_PROMPT_LOOKBACK = 8


class DetokenizedText(NamedTuple):
    """What some tokens added to a text.

    Attributes:
        text: The text that may be shown.
        num_tokens: How many of the tokens were read; fewer than given only behind a stop string.
        stop_string: The stop string that ended the text, or None.
    """

    text: str
    num_tokens: int
    stop_string: str | None = None


class IncrementalDecoder:
    """Decodes one token after the other; the pieces join to the decoded whole.

    Only the tokens since the last complete character are decoded anew, behind one earlier token for context (a text's
    first token may lose its space). An incomplete character is held back. In tokenizers that spell single bytes
    ("<0xE2>"), bytes that are no UTF-8 do not spoil complete characters beside them, as a plain decode would.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, skip_special_tokens: bool = True, prompt_token_ids: Sequence[int] = ()
    ) -> None:
        """Begins a text.

        Args:
            tokenizer: Whose tokens they are.
            skip_special_tokens: Leave special tokens out.
            prompt_token_ids: What the text continues; without it the first token begins a text.
        """
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._window: list[int] = []
        self._context = self._context_in(prompt_token_ids[-_MAX_PROMPT_LOOKBACK:])
        self._shown = self._context_length()

    def append(self, token_id: int) -> str:
        """Returns what one more token lets be shown."""
        if self._is_silent(token_id):
            return ""
        self._window.append(token_id)
        text = self._decode_window()
        undecided = min(len(text) - len(text.rstrip(_REPLACEMENT)), _MAX_UNDECIDED)
        end = len(text) - undecided
        new_text = text[self._shown : end]
        self._shown = max(self._shown, end)
        if undecided == 0:
            self._context = [token_id] if not self._tokenizer.is_byte_piece(token_id) else self._context_for_bytes()
            self._window.clear()
            self._shown = self._context_length()
        elif len(self._window) > _MAX_WINDOW:
            self._window = self._window[-_KEPT_OF_WINDOW:]
            self._shown = len(self._decode_window()) - undecided
        return new_text

    def flush(self) -> str:
        """Returns what is held back; no token follows."""
        text = self._decode_window()[self._shown :] if self._window else ""
        self._window.clear()
        return text

    def _decode_window(self) -> str:
        return self._tokenizer.decode([*self._context, *self._window], skip_special_tokens=False)

    def _context_length(self) -> int:
        return self._tokenizer.text_length(self._context[0]) if self._context else 0

    def _context_for_bytes(self) -> list[int]:
        """Returns a context that is not part of a run of bytes, which is decoded as one."""
        anchor = self._tokenizer.anchor_token_id
        return self._context or ([] if anchor is None else [anchor])

    def _context_in(self, token_ids: Sequence[int]) -> list[int]:
        for token_id in reversed(token_ids):
            if not self._is_silent(token_id) and not self._tokenizer.is_byte_piece(token_id):
                return [token_id]
        return []

    def _is_silent(self, token_id: int) -> bool:
        """Whether a token has no text: skipped, or no token at all (an embedding may have more rows than tokens)."""
        if self._skip_special_tokens and token_id in self._tokenizer.special_token_ids:
            return True
        return self._tokenizer.convert_id_to_piece(token_id) is None


class IncrementalDetokenizer:
    """An answer's text as its tokens arrive, ended by the first stop string, of which nothing is ever shown early."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        skip_special_tokens: bool = True,
        stop_strings: Sequence[str] = (),
        include_stop_str_in_output: bool = False,
        min_tokens: int = 0,
        prompt_token_ids: Sequence[int] = (),
    ) -> None:
        """Begins an answer.

        Args:
            tokenizer: Whose tokens they are.
            skip_special_tokens: Leave special tokens out of the text.
            stop_strings: Strings that end the text.
            include_stop_str_in_output: Keep the stop string at the end of the text.
            min_tokens: A stop string that ends within so many tokens does not count.
            prompt_token_ids: What the text continues; without it the first token begins a text.
        """
        self._decoder = IncrementalDecoder(
            tokenizer, skip_special_tokens=skip_special_tokens, prompt_token_ids=prompt_token_ids
        )
        self._matcher = StopStringMatcher(stop_strings) if stop_strings else None
        self._include_stop = include_stop_str_in_output
        self._min_tokens = min_tokens
        self._num_tokens = 0

    def append(self, token_ids: Sequence[int]) -> DetokenizedText:
        """Takes more tokens and returns the text that they let be shown; reads nothing behind a stop string."""
        pieces: list[str] = []
        for count, token_id in enumerate(token_ids, start=1):
            self._num_tokens += 1
            text, stop_string = self._show(self._decoder.append(token_id))
            pieces.append(text)
            if stop_string is not None:
                return DetokenizedText("".join(pieces), count, stop_string)
        return DetokenizedText("".join(pieces), len(token_ids))

    def finish(self) -> str:
        """Returns what is held back, up to a stop string; the answer has ended. Incomplete bytes become U+FFFD."""
        text, _ = self._show(self._decoder.flush())
        return text if self._matcher is None else text + self._matcher.release()

    def _show(self, text: str) -> tuple[str, str | None]:
        if self._matcher is None or not text:
            return text, None
        may_stop = self._num_tokens > self._min_tokens
        return self._matcher.feed(text, may_stop=may_stop, include_stop=self._include_stop)
