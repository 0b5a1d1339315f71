"""What a checkpoint folder says about its tokenizer: special tokens, chat templates, end tokens. Plain JSON.

The files are those of Hugging Face's `save_pretrained` (transformers, `tokenization_utils_base.py`), old and new.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllm_local.errors import CorruptModelError

SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Names under which a tokenizer's special tokens go, in its files and in chat templates."""
DEFAULT_TEMPLATE_NAME = "default"
_LISTS_OF_SPECIAL_TOKENS = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
    """What the JSON files beside tokenizer.json say.

    Attributes:
        folder: Where they lie.
        config: tokenizer_config.json, with what special_tokens_map.json adds.
        special_tokens: Text of each special token by its name, such as "bos_token".
        extra_special_tokens: Texts of special tokens that have no name.
        chat_templates: Jinja templates by name; the usual one is "default".
        eos_token_ids: End tokens that generation_config.json, else config.json, names.
    """

    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    extra_special_tokens: tuple[str, ...] = ()
    chat_templates: Mapping[str, str] = field(default_factory=dict)
    eos_token_ids: frozenset[int] = frozenset()


def read_tokenizer_files(folder: Path, model_folder: Path | None = None) -> TokenizerFiles:
    """Reads what is there; every file is optional.

    Args:
        folder: The tokenizer's folder.
        model_folder: The model's folder, which names the end tokens; the same by default.

    Raises:
        CorruptModelError: A file is there but is no JSON object, or a template is no text.
    """
    config = {**read_json(folder / "special_tokens_map.json"), **read_json(folder / "tokenizer_config.json")}
    return TokenizerFiles(
        folder=folder,
        config=config,
        special_tokens=_named_special_tokens(config),
        extra_special_tokens=tuple(_extra_special_tokens(config)),
        chat_templates=_read_chat_templates(folder, config),
        eos_token_ids=_read_eos_token_ids(model_folder or folder),
    )


def read_json(path: Path) -> dict[str, Any]:
    """Returns a JSON file's object, or an empty one where there is no such file.

    Raises:
        CorruptModelError: The file cannot be read or holds something else.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptModelError(f"{path} is no readable JSON ({error}); fetch the model's files again.") from error
    if not isinstance(content, dict):
        raise CorruptModelError(f"{path} must hold a JSON object, got {type(content).__name__}.")
    return content


def token_text(token: object) -> str | None:
    """Returns the text of a token that a file gives as a string or as an object with "content"."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _named_special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    texts = {name: token_text(config.get(name)) for name in SPECIAL_TOKEN_NAMES}
    return {name: text for name, text in texts.items() if text is not None}


def _extra_special_tokens(config: Mapping[str, Any]) -> Iterable[str]:
    for name in _LISTS_OF_SPECIAL_TOKENS:
        tokens = config.get(name)
        for token in tokens.values() if isinstance(tokens, Mapping) else tokens if isinstance(tokens, list) else ():
            text = token_text(token)
            if text is not None:
                yield text


def _read_chat_templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Collects the templates; a later source wins: config, chat_template.json, *.jinja files."""
    templates = _as_templates(config.get("chat_template"), folder / "tokenizer_config.json")
    path = folder / "chat_template.json"
    templates |= _as_templates(read_json(path).get("chat_template"), path)
    for file in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        templates[file.stem] = _read_text(file)
    if (folder / "chat_template.jinja").is_file():
        templates[DEFAULT_TEMPLATE_NAME] = _read_text(folder / "chat_template.jinja")
    return templates


def _as_templates(value: object, path: Path) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, str):
        return {DEFAULT_TEMPLATE_NAME: value}
    try:
        items = value.items() if isinstance(value, Mapping) else [(item["name"], item["template"]) for item in value]  # type: ignore[attr-defined]
        templates = dict(items)
    except (KeyError, TypeError) as error:
        raise CorruptModelError(f"chat_template in {path} is neither a text nor a list of named ones.") from error
    if not all(isinstance(text, str) for text in (*templates, *templates.values())):
        raise CorruptModelError(f"chat_template in {path} holds a template that is no text.")
    return templates


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptModelError(f"{path} cannot be read as text ({error}).") from error


def _read_eos_token_ids(folder: Path) -> frozenset[int]:
    config = read_json(folder / "config.json")
    text_config = config.get("text_config")
    for source in (read_json(folder / "generation_config.json"), config, text_config):
        ids = source.get("eos_token_id") if isinstance(source, dict) else None
        values = ids if isinstance(ids, list) else [ids]
        found = frozenset(value for value in values if type(value) is int and value >= 0)
        if found:
            return found
    return frozenset()
