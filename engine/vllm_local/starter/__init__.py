"""The starter model: a tiny chat model that ships inside the package."""

from importlib.resources import files
from pathlib import Path

STARTER_MODEL_NAME = "vllm-local-starter"


def starter_path() -> Path:
    """Return the folder that holds the starter model's config, weights and tokenizer."""
    return Path(str(files(__name__))) / "model"


__all__ = ["STARTER_MODEL_NAME", "starter_path"]
