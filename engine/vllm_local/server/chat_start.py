"""From a conversation with tools and a form to a request that runs: the part that all chat routes share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from vllm_local.chat.chat_format import PreparedChat
from vllm_local.chat.tools import ToolRequest
from vllm_local.sampling_params import SamplingParams
from vllm_local.server.answer_form import AnswerForm
from vllm_local.server.context import ServerContext
from vllm_local.server.generation import Generations
from vllm_local.structured_output.blame import blaming


def chat_answer_params(
    params: SamplingParams, chat: PreparedChat, thinking_token_budget: int | None = None
) -> SamplingParams:
    """Returns how to sample the answer to a prepared conversation.

    Raises:
        InvalidRequestError: There is a limit on thoughts, but the model does not think.
    """
    return dataclasses.replace(
        params,
        structured_outputs=chat.structured_outputs,
        thinking_budget=chat.thinking_budget(thinking_token_budget),
        skip_special_tokens=params.skip_special_tokens and not chat.shows_special_tokens,
    )


async def start_chat_answer(
    context: ServerContext,
    token_ids: Sequence[int],
    params: SamplingParams,
    tools: ToolRequest,
    form: AnswerForm | None,
    *,
    priority: int = 0,
    cache_salt: str | None = None,
) -> Generations:
    """Starts an answer.

    Raises:
        InvalidRequestError: The parameters do not fit the model, or a schema cannot be kept; it names the tool.
        QueueFullError: Too many wait.
        EngineError: The engine has ended.
    """
    schemas = [(tool.name, tool.parameters) for tool in tools.callable_tools]
    with blaming("tools" if form is None else form.field, schemas):
        return await Generations.start(context, [token_ids], params, priority=priority, cache_salt=cache_salt)
