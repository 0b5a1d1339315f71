"""The tokenizer of a model that somebody else runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_local.config import EngineConfig
from vllm_local.errors import ModelLoadError

if TYPE_CHECKING:
    from vllm_local.tokenizer.tokenizer import Tokenizer


def load_tokenizer(name: str) -> Tokenizer:
    """Loads a tokenizer, not the model, from a folder or the hub.

    Raises:
        ModelLoadError: There is none of that name.
    """
    from vllm_local.engine_loading import read_model_files

    try:
        return read_model_files(EngineConfig(tokenizer=name)).tokenizer
    except ModelLoadError as error:
        message = (
            f"Prompts are made with the model's tokenizer, and {name!r} has none here; name one with --tokenizer. "
        )
        raise type(error)(message + str(error)) from error
