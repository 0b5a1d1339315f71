"""Runs commands in this process, on engines and servers that compute nothing."""

from __future__ import annotations

import itertools
import json

import httpx
from typer.testing import CliRunner

from tests.engine.engine_fakes import ANSWER, make_loaded
from vllm_local.async_llm import AsyncLLM
from vllm_local.cli.app import make_app
from vllm_local.llm import LLM

WORDS = ANSWER.split()


def invoke(*arguments, **kwargs):
    """What `vllm-local <arguments>` does; stdout, stderr and exit_code are in the result."""
    return CliRunner().invoke(make_app(), list(arguments), prog_name="vllm-local", **kwargs)


def use_fake_engine(monkeypatch, **kwargs):
    """Lets commands load a fake; returns the list of the EngineConfigs that they asked for."""
    configs = []

    def make(cls):
        def load(config):
            configs.append(config)
            return cls.from_loaded(make_loaded(**kwargs))

        return load

    monkeypatch.setattr("vllm_local.async_llm.AsyncLLM", make(AsyncLLM))
    monkeypatch.setattr("vllm_local.llm.LLM", make(LLM))
    return configs


class FakeServer:
    """A server with OpenAI's API that answers every request with the same words; `requests` is what it was asked."""

    def __init__(self, words=("Hello", " world"), status=200, error=None):
        self.words, self.status, self.error = words, status, error
        self.requests = []

    def __call__(self, request):
        body = json.loads(request.content) if request.content else {}
        self.requests.append((request.method, request.url.path, body, dict(request.headers)))
        if self.status != 200:
            return httpx.Response(self.status, json={"error": {"message": "no such luck", "code": self.status}})
        if request.url.path.endswith("/models"):
            return httpx.Response(200, json={"data": [{"id": "served", "root": "vllm-local-starter"}]})
        return httpx.Response(200, text="".join(self._events(is_chat="messages" in body)))

    def transport(self):
        return httpx.MockTransport(self)

    def _events(self, *, is_chat):
        empty = {"delta": {"role": "assistant", "content": ""}} if is_chat else None
        texts = ({"delta": {"content": word}} if is_chat else {"text": word} for word in self.words)
        for choice in itertools.chain([empty] if empty else [], texts):
            yield f"data: {json.dumps({'choices': [{'index': 0, **choice}]})}\n\n"
        if self.error is not None:
            yield f"data: {json.dumps({'error': {'message': self.error}})}\n\n"
        else:
            usage = {"prompt_tokens": 3, "completion_tokens": len(self.words)}
            yield f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n"
        yield "data: [DONE]\n\n"
