"""Finds a model's folder: a local one, or a snapshot from the Hugging Face hub."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_local.config import EngineConfig
from vllm_local.errors import ModelLoadError, ModelNotFoundError, UnsupportedModelError
from vllm_local.models.config_fields import CONFIG_NAME

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo as HubModelInfo

logger = logging.getLogger(__name__)

PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")
"""Files that are fetched: weights, configs, chat templates, tokenizers."""

IGNORED = ("*/*", "consolidated*")
"""Files that are not: subfolders hold other formats, consolidated files the same weights once more."""


def resolve_model_path(engine: EngineConfig) -> Path:
    """Returns the folder of `engine.model`, downloading it first if it is on the hub and not in the cache.

    Raises:
        ModelNotFoundError: It is neither a folder with a config.json nor to be had from the hub.
        UnsupportedModelError: It has no safetensors on the hub, and pickle files were not asked for.
        ModelLoadError: The download failed.
    """
    folder = find_folder(engine.model)
    if folder is not None:
        if not (folder / CONFIG_NAME).is_file():
            raise ModelNotFoundError(
                f"The folder {engine.model!r} has no {CONFIG_NAME}, so it is not a model's folder."
            )
        return folder
    if os.path.isfile(os.path.expanduser(engine.model)):  # noqa: PTH111, PTH113 - see find_folder
        message = (
            f"{engine.model!r} is a file. Give the folder with {CONFIG_NAME} and safetensors; GGUF is not supported."
        )
        raise ModelNotFoundError(message)
    if _looks_like_path(engine.model):
        raise ModelNotFoundError(f"The folder {engine.model!r} does not exist.")
    return _from_hub(engine)


def find_folder(name: str) -> Path | None:
    """Returns the folder of that name, "~" expanded, or None; unlike pathlib it raises nothing, however odd the name.

    Args:
        name: What a user gave as a folder or as something else, a hub's id say.
    """
    path = os.path.expanduser(name)  # noqa: PTH111
    return Path(path) if os.path.isdir(path) else None  # noqa: PTH112


def _looks_like_path(model: str) -> bool:
    return model.startswith((".", "~", "/")) or "\\" in model or model.count("/") > 1 or Path(model).is_absolute()


def _from_hub(engine: EngineConfig) -> Path:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(engine.model)
    except HFValidationError as error:
        message = f"{engine.model!r} is neither a folder nor a valid Hugging Face id ({error})."
        raise ModelNotFoundError(message) from error
    if _is_offline(engine):
        return _cached_snapshot(engine)
    try:
        info = _ask_hub(engine)
    except ModelNotFoundError:
        raise
    except Exception as error:  # noqa: BLE001 - the library lets any error of its HTTP client through
        return _cached_after(engine, error)
    return _download(engine, info)


def _is_offline(engine: EngineConfig) -> bool:
    from huggingface_hub import constants

    # The variable is read again because the library reads it only once, while it is imported.
    by_environment = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    return engine.local_files_only or by_environment or bool(constants.HF_HUB_OFFLINE)


def _ask_hub(engine: EngineConfig) -> HubModelInfo:
    from huggingface_hub import constants
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        # Without a timeout a network that swallows everything would hang a load from the cache for ever.
        return _hub_api(engine).model_info(
            engine.model, revision=engine.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT, files_metadata=True
        )
    except RevisionNotFoundError as error:
        message = f"{engine.model!r} on the Hugging Face hub has no revision {engine.revision!r}."
        raise ModelNotFoundError(message) from error
    except RepositoryNotFoundError as error:
        message = (
            f"{engine.model!r} is neither a folder here nor a public model on the Hugging Face hub. If it is private "
            f"or gated, log in (hf auth login) or pass hf_token=."
        )
        raise ModelNotFoundError(message) from error


def _hub_api(engine: EngineConfig) -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(token=engine.hf_token)


def _cached_after(engine: EngineConfig, error: Exception) -> Path:
    """Falls back on the cache where the hub cannot be asked."""
    try:
        path = _cached_snapshot(engine)
    except ModelNotFoundError:
        message = (
            f"{engine.model!r} is no folder here, and the Hugging Face hub could not be asked for it "
            f"({type(error).__name__}: {error})."
        )
        raise ModelNotFoundError(message) from error
    logger.warning("The Hugging Face hub could not be asked for %s (%s); using the cached copy.", engine.model, error)
    return path


def _cached_snapshot(engine: EngineConfig) -> Path:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _snapshot(engine, local_files_only=True)
    except LocalEntryNotFoundError as error:
        message = (
            f"{engine.model!r} is neither a folder here nor complete in the download cache, and the hub is not asked "
            f"(HF_HUB_OFFLINE or local_files_only). Allow the download once, or give a folder."
        )
        raise ModelNotFoundError(message) from error


def _download(engine: EngineConfig, info: HubModelInfo) -> Path:
    from huggingface_hub import try_to_load_from_cache

    sizes = _wanted_files(engine, info)
    missing = [
        name
        for name in sizes
        if not isinstance(try_to_load_from_cache(engine.model, name, engine.download_dir, info.sha), str)
    ]
    if missing:
        size = sum(sizes[name] for name in missing)
        logger.info("Downloading %s from the Hugging Face hub: %d files, %s.", engine.model, len(missing), _text(size))
    try:
        with _progress_bars(enabled=engine.use_tqdm_on_load):
            return _snapshot(engine, local_files_only=False)
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        message = f"Downloading {engine.model!r} failed ({cause}). Files that are complete are kept for the next try."
        raise ModelLoadError(message) from error


def _wanted_files(engine: EngineConfig, info: HubModelInfo) -> dict[str, int]:
    """Returns the sizes in bytes of the files to fetch, by name, after checking that they make a model."""
    patterns = _patterns(engine)
    sizes = {
        item.rfilename: item.size or 0
        for item in info.siblings or ()
        if _matches(item.rfilename, patterns) and not _matches(item.rfilename, IGNORED)
    }
    if CONFIG_NAME not in sizes:
        raise ModelNotFoundError(f"{engine.model!r} on the Hugging Face hub has no {CONFIG_NAME}: not a model to run.")
    endings = (".safetensors", ".bin") if engine.load_format == "pt" else (".safetensors",)
    if not any(name.endswith(endings) for name in sizes):
        message = (
            f"{engine.model!r} has no safetensors weights on the Hugging Face hub. Other formats are refused or not "
            'supported; pass load_format="pt" for pickle files (pytorch_model.bin) if you trust their source.'
        )
        raise UnsupportedModelError(message)
    return sizes


def _patterns(engine: EngineConfig) -> list[str]:
    pickles = ["pytorch_model*.bin"] if engine.load_format == "pt" else []
    code = ["*.py"] if engine.trust_remote_code else []
    return [*PATTERNS, *pickles, *code]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _snapshot(engine: EngineConfig, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    options: dict[str, Any] = {"ignore_patterns": list(IGNORED), "allow_patterns": _patterns(engine)}
    path = snapshot_download(
        engine.model,
        revision=engine.revision,
        cache_dir=engine.download_dir,
        token=engine.hf_token,
        local_files_only=local_files_only,
        **options,
    )
    return Path(path)


@contextmanager
def _progress_bars(*, enabled: bool) -> Iterator[None]:
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if enabled or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _text(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
