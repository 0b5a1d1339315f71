"""The names that the one model goes by."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from vllm_local.server.answer_options import SYSTEM_FINGERPRINT
from vllm_local.server.errors import ModelNotServedError


class ServedModels:
    """Names for one loaded model; the first is its usual one.

    Attributes:
        names: All of them.
    """

    def __init__(self, names: Sequence[str], *, root: str, max_model_len: int) -> None:
        """Takes the names.

        Args:
            names: At least one.
            root: What the model was loaded from.
            max_model_len: Longest prompt and answer together, in tokens.
        """
        self.names = tuple(dict.fromkeys(names))
        self._root = root
        self._max_model_len = max_model_len
        self._created = int(time.time())

    def check(self, name: str | None) -> str:
        """Returns the name that an answer bears: the request's own.

        Raises:
            ModelNotServedError: It is none of the names.
        """
        if not name:
            return self.names[0]
        if name not in self.names:
            message = f"The model `{name}` does not exist. Valid aliases: {', '.join(self.names)}."
            raise ModelNotServedError(message, parameter="model")
        return name

    def describe(self, name: str) -> dict[str, Any]:
        """Returns a model card as `/v1/models` shows it."""
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": "vllm",
            "system_fingerprint": SYSTEM_FINGERPRINT,
            "root": self._root,
            "parent": None,
            "max_model_len": self._max_model_len,
            "permission": [self._permission()],
        }

    def _permission(self) -> dict[str, Any]:
        allowed = ("allow_sampling", "allow_logprobs", "allow_view")
        refused = ("allow_create_engine", "allow_search_indices", "allow_fine_tuning", "is_blocking")
        return {
            "id": f"modelperm-{uuid.uuid4().hex}",
            "object": "model_permission",
            "created": self._created,
            "organization": "*",
            "group": None,
            **dict.fromkeys(allowed, True),
            **dict.fromkeys(refused, False),
        }
