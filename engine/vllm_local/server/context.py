"""What every route needs: the engine, the settings, and the books that the server keeps."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from starlette.requests import Request

from vllm_local.async_llm import AsyncLLM
from vllm_local.chat.chat_format import ChatFormat
from vllm_local.errors import ChatTemplateError
from vllm_local.server.admission import Admission
from vllm_local.server.metrics import Metrics
from vllm_local.server.served_models import ServedModels
from vllm_local.server.settings import ServerSettings
from vllm_local.server.text_limit import TextLimit


@dataclass(frozen=True, kw_only=True)
class ServerContext:
    """One server's parts.

    Attributes:
        engine: The loaded model.
        settings: What the user said.
        models: The names that the model goes by.
        chat_format: The chat template and the formats of calls and thoughts, as the settings want them.
        text_limit: How long a prompt's text may be.
        metrics: What is counted and measured.
        admission: Who may wait.
    """

    engine: AsyncLLM
    settings: ServerSettings
    models: ServedModels
    chat_format: ChatFormat
    text_limit: TextLimit
    metrics: Metrics
    admission: Admission

    def count_tokens(self, text: str) -> int:
        """Returns a text's length in the model's tokens, without special ones around it."""
        return len(self.engine.tokenizer.encode(text, add_special_tokens=False))


def make_context(engine: AsyncLLM, settings: ServerSettings) -> ServerContext:
    """Makes a server's parts.

    Raises:
        InvalidConfigError: The settings' chat template is neither a template nor a file, or a parser's name is unknown.
    """
    model = engine.config.engine.model
    names = settings.served_model_name or (model,)
    return ServerContext(
        engine=engine,
        settings=settings,
        models=ServedModels(names, root=model, max_model_len=engine.config.max_model_len),
        chat_format=_chat_format(engine, settings),
        text_limit=TextLimit(engine),
        metrics=Metrics(engine, names[0]),
        admission=Admission(engine, settings),
    )


def _chat_format(engine: AsyncLLM, settings: ServerSettings) -> ChatFormat:
    """Returns the model's, changed as the settings want it; its parts are found now, so that the log names them."""
    chat_format = engine.chat_format.with_template(
        settings.chat_template, content_format=settings.chat_template_content_format
    ).with_parsers(settings.tool_call_parser, settings.reasoning_parser)
    with contextlib.suppress(ChatTemplateError):  # none by default; requests without tools may still be plain prompts
        _ = chat_format.tool_format, chat_format.reasoning_format
    return chat_format


def get_context(request: Request) -> ServerContext:
    """Returns the parts of the server that a request came to."""
    context = request.app.state.context
    assert isinstance(context, ServerContext), "create_app sets it"
    return context
