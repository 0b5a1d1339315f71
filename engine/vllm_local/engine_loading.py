"""From engine arguments to everything that answers requests."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from vllm_local.chat.renderer import ChatRenderer, load_chat_template
from vllm_local.config import STARTER_MODEL_NAME, EngineConfig, ResolvedConfig
from vllm_local.core.scheduler import Scheduler
from vllm_local.default_logging import show_messages
from vllm_local.errors import InvalidConfigError, ModelNotFoundError
from vllm_local.llm_engine import LLMEngine
from vllm_local.output_processor import Delivery, OutputProcessor
from vllm_local.sampling_defaults import SamplingDefaults, read_sampling_defaults
from vllm_local.starter import starter_path
from vllm_local.tokenizer.tokenizer import Tokenizer
from vllm_local.worker.executor import Executor

logger = logging.getLogger(__name__)

_TOKENIZER_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "additional_chat_templates/*"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """What is read of a model before its weights.

    Attributes:
        config: The engine arguments.
        path: The model's folder.
        tokenizer: Its tokenizer.
        renderer: Its chat template.
        sampling_defaults: What its generation_config.json says.
    """

    config: EngineConfig
    path: Path
    tokenizer: Tokenizer
    renderer: ChatRenderer
    sampling_defaults: SamplingDefaults


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """What a model's files were made into.

    Attributes:
        config: The engine arguments, made concrete.
        path: The model's folder.
        tokenizer: Its tokenizer.
        renderer: Its chat template.
        sampling_defaults: What its generation_config.json says.
        model_runner: Its weights and KV cache.
    """

    config: ResolvedConfig
    path: Path
    tokenizer: Tokenizer
    renderer: ChatRenderer
    sampling_defaults: SamplingDefaults
    model_runner: Executor

    def make_engine(self, hand_over: Callable[[list[Delivery]], None] | None = None) -> LLMEngine:
        """Composes an engine, the model runner's one and only.

        Args:
            hand_over: Takes outputs to another thread; without it the engine's thread delivers them.
        """
        config = self.config
        scheduler = Scheduler(
            kv_cache=config.kv_cache,
            max_num_seqs=config.max_num_seqs,
            max_num_batched_tokens=config.max_num_batched_tokens,
            max_model_len=config.max_model_len,
            vocab_size=config.model.vocab_size,
            policy=config.engine.scheduling_policy,
        )
        processor = OutputProcessor(self.tokenizer, scheduler, hand_over)
        return LLMEngine(scheduler=scheduler, model_runner=self.model_runner, output_processor=processor)


def read_model_files(config: EngineConfig) -> ModelFiles:
    """Finds a model, fetching it if need be, and reads all but its weights.

    Args:
        config: The user's arguments.

    Raises:
        VLLMLocalError: Whatever is wrong with the arguments or the files.
    """
    if not isinstance(config, EngineConfig):
        raise InvalidConfigError(f"An engine takes an EngineConfig(model=…), got {type(config).__name__}.")
    show_messages()
    chat_template = load_chat_template(config.chat_template)
    path = _model_path(config)
    tokenizer = Tokenizer.from_path(_tokenizer_path(config, path), config, model_path=path)
    sampling_defaults = read_sampling_defaults(path, config)
    renderer = ChatRenderer(tokenizer, chat_template)
    return ModelFiles(
        config=config, path=path, tokenizer=tokenizer, renderer=renderer, sampling_defaults=sampling_defaults
    )


def load(
    files: ModelFiles,
    *,
    loaded_engines: Sequence[str] = (),
    reserved_memory: Callable[[], int] = lambda: 0,
    after_fork: bool = False,
) -> LoadedModel:
    """Loads a model's weights and allocates its KV cache.

    That comes last: it takes the longest, and everything else may be wrong. Loads of one process should take turns.

    Args:
        files: What was read before.
        loaded_engines: What this process has loaded already, for the message that memory is short.
        reserved_memory: Returns the bytes of main memory that those engines may still take.
        after_fork: This process was forked from one that may have computed: torch's threads would hang.

    Raises:
        VLLMLocalError: Whatever is wrong with the weights or the machine.
    """
    from vllm_local.worker.loading import load_model_runner

    config = files.config
    threaded = config
    if after_fork and config.num_threads != 1:
        logger.warning("This process was forked, where torch's threads do not work; %s runs on one.", config.model)
        threaded = dataclasses.replace(config, num_threads=1)
    model_runner, resolved, _ = load_model_runner(
        threaded, path=files.path, loaded_engines=loaded_engines, reserved_memory=reserved_memory
    )
    if files.renderer.is_fallback:
        logger.info("%s has no chat template; conversations become a plain transcript.", config.model)
    return LoadedModel(
        config=dataclasses.replace(resolved, engine=config),
        path=files.path,
        tokenizer=files.tokenizer,
        renderer=files.renderer,
        sampling_defaults=files.sampling_defaults,
        model_runner=model_runner,
    )


def _model_path(config: EngineConfig) -> Path:
    """Returns the model's folder, fetching it from the hub if it is a hub's id."""
    from vllm_local.models.loader import resolve_model_path

    is_starter = config.model == STARTER_MODEL_NAME and not Path(config.model).is_dir()
    return starter_path() if is_starter else resolve_model_path(config)


def _tokenizer_path(config: EngineConfig, model_path: Path) -> Path:
    """Returns the tokenizer's folder, fetching it from the hub if it is a hub's id."""
    if config.tokenizer is None:
        return model_path
    if config.tokenizer == STARTER_MODEL_NAME:
        return starter_path()
    from vllm_local.models.hub import find_folder

    return find_folder(config.tokenizer) or _fetch_tokenizer(config, config.tokenizer)


def _fetch_tokenizer(config: EngineConfig, repository: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        path = snapshot_download(
            repository,
            revision=config.revision if repository == config.model else None,
            cache_dir=config.download_dir,
            token=config.hf_token,
            local_files_only=config.local_files_only,
            allow_patterns=_TOKENIZER_FILES,
        )
    except Exception as error:
        message = (
            f"The tokenizer {repository!r} is neither a folder nor to be had from the Hugging Face hub "
            f"({type(error).__name__}: {error})."
        )
        raise ModelNotFoundError(message) from error
    return Path(path)
