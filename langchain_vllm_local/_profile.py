"""What a model can do, read from the config.json on this disk: LangChain's model profile."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from langchain_core.language_models import ModelProfile

from vllm_local.config import STARTER_MODEL_NAME, EngineConfig


class DerivedProfile(dict[str, Any]):
    """A profile that was read from the model, not given by the user.

    A chat model that is rebuilt from all its fields with another `model` must not keep the old one's profile; this
    class tells the two kinds apart.
    """


def model_profile(max_model_len: int, *, structured_output: bool = True) -> ModelProfile:
    """Describes a text model.

    Args:
        max_model_len: Longest prompt and answer together, in tokens.
        structured_output: Whether a form of answers may be asked for beside tools. It makes agents (`create_agent`) ask
            for both at once, rather than for one more tool.
    """
    profile = ModelProfile(
        max_input_tokens=max_model_len,
        max_output_tokens=max_model_len,
        text_inputs=True,
        text_outputs=True,
        image_inputs=False,
        audio_inputs=False,
        video_inputs=False,
        pdf_inputs=False,
        tool_calling=True,
        tool_choice=True,
        tool_call_streaming=True,
        structured_output=structured_output,
        temperature=True,
        open_weights=True,
    )
    return DerivedProfile(profile)  # type: ignore[return-value]  # a TypedDict is a dict at run time


def profile_on_disk(engine: EngineConfig) -> ModelProfile | None:
    """Reads a model's profile if its config.json is on this disk; never downloads, never imports torch.

    Args:
        engine: The engine arguments.

    Returns:
        The profile, or None where the file is not there or does not say how long a context may be.
    """
    path = _config_path(engine)
    if path is None or not path.is_file():
        return None
    length = _context_length(json.loads(path.read_text(encoding="utf-8")))
    if length is None:
        return None
    return model_profile(length if engine.max_model_len == "auto" else min(length, engine.max_model_len))


def _config_path(engine: EngineConfig) -> Path | None:
    if engine.model == STARTER_MODEL_NAME:
        return Path(str(files("vllm_local"))) / "starter" / "model" / "config.json"
    folder = Path(engine.model).expanduser()
    if folder.is_dir():
        return folder / "config.json"
    with contextlib.suppress(ValueError):  # what is no folder may be no repository id either
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(
            engine.model, "config.json", cache_dir=engine.download_dir, revision=engine.revision
        )
        return Path(found) if isinstance(found, str) else None
    return None


def _context_length(config: Mapping[str, Any]) -> int | None:
    # MPT and the GPT-2 line have names of their own.
    names = ("max_position_embeddings", "max_seq_len", "n_positions")
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)
