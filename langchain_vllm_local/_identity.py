"""How a chat model is told from another: in caches, traces, saved files and pickles."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models.base import LangSmithParams
from langchain_core.load import dumpd
from pydantic import model_validator

from langchain_vllm_local._fields import API_KEY_VARIABLE, ChatVLLMLocalFields
from langchain_vllm_local._parameters import REQUEST_NAMES, SAMPLING_NAMES
from langchain_vllm_local._results import MODEL_PROVIDER
from vllm_local import __version__

_HANDLES = ("client", "async_client", "root_client", "root_async_client", "http_client", "http_async_client")
_SECRETS = ("openai_api_key", "openai_proxy", "default_headers", "default_query")
_SHARED_BY_COPIES = (*_HANDLES, "rate_limiter", "cache", "callbacks")


class IdentifiableChatModel(ChatVLLMLocalFields):
    """The fields, and what LangChain makes of them; answers nothing by itself."""

    @property
    def _llm_type(self) -> str:
        return "chat-vllm-local"

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Returns True: `langchain_core.load` can write and read it."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Constructor arguments that are written as the names of environment variables."""
        return {"openai_api_key": API_KEY_VARIABLE}

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """What is written in place of the fields: the hub's token is left out, since `HF_TOKEN` is found without us."""
        return {"engine_args": self._telling_engine_args()} if "hf_token" in self.engine_args else {}

    @property
    def _serialized(self) -> dict[str, Any]:
        # Core computes this once, and so would go on using the old cache key after `llm.temperature = 1`.
        return dumpd(self)  # type: ignore[no-any-return]

    @property
    def _identifying_params(self) -> dict[str, Any]:
        telling = (*SAMPLING_NAMES, *REQUEST_NAMES, "model_kwargs", "extra_body")
        settings = {name: value for name, value in self.settings().items() if name in telling and value != {}}
        place = {"base_url": self.openai_api_base} if self.openai_api_base else {"backend": self.backend or "engine"}
        return {**settings, **place, "engine_args": self._telling_engine_args()}

    def _telling_engine_args(self) -> dict[str, Any]:
        """Returns the engine arguments without the hub's token, which is secret and says who downloads, not what."""
        return {name: value for name, value in self.engine_args.items() if name != "hf_token"}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        ls_params = super()._get_ls_params(stop=stop, **kwargs)
        ls_params["ls_provider"] = MODEL_PROVIDER
        if "max_completion_tokens" in kwargs:
            ls_params["ls_max_tokens"] = kwargs["max_completion_tokens"]
        if stop is None and (default := kwargs.get("stop_sequences") or self.stop):
            ls_params["ls_stop"] = [default] if isinstance(default, str) else list(default)
        return ls_params

    @model_validator(mode="after")
    def _set_vllm_local_version(self) -> IdentifiableChatModel:
        self._add_version("langchain-vllm-local", __version__)
        return self

    def __getstate__(self) -> dict[Any, Any]:
        """Leaves secrets and handles out of pickles."""
        state = super().__getstate__()
        cleaned = dict.fromkeys((*_HANDLES, *_SECRETS)) | {"engine_args": self._telling_engine_args()}
        return {**state, "__dict__": {**state["__dict__"], **cleaned}}

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> IdentifiableChatModel:
        """Shares what holds locks, which cannot be copied, and would limit or cache nothing in two halves."""
        memo = {} if memo is None else memo
        shared = (getattr(self, name) for name in _SHARED_BY_COPIES)
        memo.update({id(value): value for value in shared if value is not None})
        return super().__deepcopy__(memo)
