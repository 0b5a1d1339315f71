"""What every route needs: the engine, the settings, and the books that the server keeps."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from vllm_local.async_llm import AsyncLLM
from vllm_local.chat.renderer import ChatRenderer
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
        renderer: The chat template, as the settings want it.
        text_limit: How long a prompt's text may be.
        metrics: What is counted and measured.
        admission: Who may wait.
    """

    engine: AsyncLLM
    settings: ServerSettings
    models: ServedModels
    renderer: ChatRenderer
    text_limit: TextLimit
    metrics: Metrics
    admission: Admission


def make_context(engine: AsyncLLM, settings: ServerSettings) -> ServerContext:
    """Makes a server's parts.

    Raises:
        InvalidConfigError: The settings' chat template is neither a template nor a file.
    """
    model = engine.config.engine.model
    names = settings.served_model_name or (model,)
    return ServerContext(
        engine=engine,
        settings=settings,
        models=ServedModels(names, root=model, max_model_len=engine.config.max_model_len),
        renderer=engine.renderer.with_template(
            settings.chat_template, content_format=settings.chat_template_content_format
        ),
        text_limit=TextLimit(engine),
        metrics=Metrics(engine, names[0]),
        admission=Admission(engine, settings),
    )


def get_context(request: Request) -> ServerContext:
    """Returns the parts of the server that a request came to."""
    context = request.app.state.context
    assert isinstance(context, ServerContext), "create_app sets it"
    return context
