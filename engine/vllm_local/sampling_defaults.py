"""Sampling defaults that a model brings along: its generation_config.json."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllm_local.config import EngineConfig
from vllm_local.errors import InvalidConfigError, InvalidRequestError, VLLMLocalError
from vllm_local.sampling_params import SAMPLING_PARAM_NAMES, SamplingParams
from vllm_local.tokenizer.tokenizer_files import read_json

_NAMES = ("repetition_penalty", "temperature", "top_k", "top_p", "min_p")
"""What vLLM takes from the file (`ModelConfig.get_diff_sampling_param`), besides `max_new_tokens`."""
_OVERRIDABLE = (*_NAMES, "max_new_tokens", "do_sample")


class SamplingDefaults:
    """Makes SamplingParams from a model's defaults and what a caller says."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        """Takes the defaults.

        Args:
            values: By the names of `SamplingParams`.
            source: Where they come from, for the message.

        Raises:
            InvalidConfigError: One of them is out of its bounds.
        """
        self._values = {"max_tokens": None, **values}
        try:
            SamplingParams(**self._values)
        except (VLLMLocalError, TypeError) as error:
            message = f"The sampling defaults of {source} cannot be used: {error} Override them with "
            raise InvalidConfigError(message + "override_generation_config, or generation_config='vllm'.") from error

    @property
    def values(self) -> dict[str, Any]:
        """The defaults that differ from SamplingParams' own, and `max_tokens` (None: the room that is left)."""
        return dict(self._values)

    def make(self, **overrides: Any) -> SamplingParams:
        """Returns parameters; overrides that are None are left out.

        Raises:
            InvalidRequestError: A name or a value is wrong.
        """
        for name in overrides:
            if name not in SAMPLING_PARAM_NAMES:
                near = difflib.get_close_matches(name, SAMPLING_PARAM_NAMES, n=1)
                hint = f"; did you mean {near[0]}?" if near else "."
                raise InvalidRequestError(f"There is no sampling parameter {name!r}{hint}", parameter=name)
        given = {name: value for name, value in overrides.items() if value is not None}
        return SamplingParams(**{**self._values, **given})


def read_sampling_defaults(model_path: Path, engine: EngineConfig) -> SamplingDefaults:
    """Reads the defaults as vLLM does; besides, an explicit `do_sample: false` means greedy, as in transformers.

    Args:
        model_path: The model's folder.
        engine: Its `generation_config` says where to look, its `override_generation_config` wins.

    Raises:
        CorruptModelError: The file is damaged.
        InvalidConfigError: The named folder has none, a value makes no sense, or `override_generation_config` has a
            name that nothing reads.
    """
    unknown = [name for name in engine.override_generation_config if name not in _OVERRIDABLE]
    if unknown:
        message = f"override_generation_config has {unknown[0]!r}, but only {', '.join(_OVERRIDABLE)} can be set there."
        raise InvalidConfigError(message)
    path = _config_path(model_path, engine.generation_config)
    values = _translate({} if path is None else read_json(path))
    source = "override_generation_config" if path is None else str(path)
    return SamplingDefaults({**values, **_translate(engine.override_generation_config)}, source)


def _config_path(model_path: Path, generation_config: str) -> Path | None:
    if generation_config == "vllm":
        return None
    if generation_config == "auto":
        return model_path / "generation_config.json"
    path = Path(generation_config) / "generation_config.json"
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib's raises where the name is too long
        message = (
            f"generation_config must be 'auto', 'vllm' or a folder with generation_config.json, got {path.parent}."
        )
        raise InvalidConfigError(message)
    return path


def _translate(config: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: config[name] for name in _NAMES if config.get(name) is not None}
    if config.get("do_sample") is False:
        values["temperature"] = 0.0
    if config.get("max_new_tokens") is not None:
        values["max_tokens"] = config["max_new_tokens"]
    return values
