"""From a request to prompt tokens: chat templates, texts, token ids, truncation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vllm_local.chat.chat_format import ChatFormat, PreparedChat
from vllm_local.chat.renderer import ChatRenderer
from vllm_local.chat.tools import ToolRequest
from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Constraint
from vllm_local.server.context import ServerContext
from vllm_local.server.protocol.base import DeliveryFields, TemplateFields
from vllm_local.server.protocol.completions import CompletionRequest

MAX_CACHE_SALT = 128
MAX_ANSWERS = 2048
"""Answers to one request, whose prompts may be many: each has a place in all books; bodies have room for millions."""
_NO_TOOLS = ToolRequest()
_OWN_PARAMETERS = ("self", "messages", "tools", "response", "add_generation_prompt", "continue_final_message")


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A prompt, ready for the engine.

    Attributes:
        token_ids: Its tokens.
        text: Its text, where the request gave one.
        first_token: Text of its first token, where its log-probabilities are echoed.
    """

    token_ids: list[int]
    text: str | None = None
    first_token: str = ""


async def render_chat(context: ServerContext, request: TemplateFields, tools: ToolRequest = _NO_TOOLS) -> list[int]:
    """Returns a conversation's prompt tokens; arguments and errors as for `prepare_chat`."""
    chat_format = _choose_format(context, request)
    arguments = _template_arguments(context, request)

    def tokenize() -> list[int]:
        text = context.text_limit.check(chat_format.render(request.messages, tools, **arguments))
        return context.engine.tokenizer.encode(text, bool(request.add_special_tokens))

    return await context.engine.off_loop(tokenize)


async def prepare_chat(
    context: ServerContext,
    request: TemplateFields,
    tools: ToolRequest = _NO_TOOLS,
    response: Constraint | None = None,
    *,
    cut: DeliveryFields | None = None,
) -> tuple[list[int], PreparedChat]:
    """Returns a conversation's prompt tokens, and how it is to be answered.

    Args:
        context: The server's parts.
        request: The conversation.
        tools: What the model may call.
        response: What an answer that is no call must look like.
        cut: What the request says about cutting its prompt; the tokens are still to be cut by `truncate`.

    Raises:
        InvalidRequestError: The messages, or what the request says about the template, cannot be rendered.
    """
    chat_format = _choose_format(context, request)
    arguments = _template_arguments(context, request)

    def prepare() -> tuple[list[int], PreparedChat]:
        chat = chat_format.prepare(request.messages, tools, response, **arguments)
        text = context.text_limit.check(chat.text) if cut is None else context.text_limit.cut(chat.text, cut)
        return context.engine.tokenizer.encode(text, bool(request.add_special_tokens)), chat

    return await context.engine.off_loop(prepare)


async def read_prompts(context: ServerContext, request: CompletionRequest) -> list[PromptTokens]:
    """Returns the prompts of a completion request, of which there may be many.

    Raises:
        InvalidRequestError: There is none, or they ask for more than MAX_ANSWERS answers.
    """
    prompts = _split_prompts(request.prompt)
    num_answers = len(prompts) * (request.n or 1)
    if num_answers > MAX_ANSWERS:
        message = f"A request has room for {MAX_ANSWERS} answers, n to each prompt, got {num_answers}; send several."
        raise InvalidRequestError(message, parameter="prompt")
    return [await _encode(context, prompt, request) for prompt in prompts]


def truncate(token_ids: list[int], request: DeliveryFields, *, max_tokens: int | None, max_model_len: int) -> list[int]:
    """Returns what is left of a prompt after the cut that the request asks for.

    Args:
        token_ids: The prompt.
        request: Its `truncate_prompt_tokens` is the most that is left (-1: what leaves room for the answer), its
            `truncation_side` is where tokens are dropped, on the left by default.
        max_tokens: Length of the answer, where the request limits it.
        max_model_len: Longest prompt and answer together.
    """
    limit = request.truncate_prompt_tokens
    if limit is None:
        return token_ids
    if limit == -1:
        limit = max(max_model_len - max(max_tokens or 1, 1), 1)
    if limit < 1:
        message = "truncate_prompt_tokens must be at least 1, or -1, got 0: nothing would be left of the prompt."
        raise InvalidRequestError(message, parameter="truncate_prompt_tokens")
    return token_ids[:limit] if request.truncation_side == "right" else token_ids[-limit:]


def check_cache_salt(cache_salt: str | None) -> str | None:
    """Returns a request's cache salt.

    Raises:
        InvalidRequestError: It is empty, too long, or has a character that vLLM refuses.
    """
    if cache_salt is None:
        return None
    if not 0 < len(cache_salt) <= MAX_CACHE_SALT or any(character in cache_salt for character in "@/\\\0"):
        message = f"Parameter 'cache_salt' must be 1 to {MAX_CACHE_SALT} characters without '@', '/', '\\' and NUL."
        raise InvalidRequestError(message, parameter="cache_salt")
    return cache_salt


def _choose_format(context: ServerContext, request: TemplateFields) -> ChatFormat:
    if request.chat_template is None:
        return context.chat_format
    if not context.settings.trust_request_chat_template:
        message = "Chat template is passed with request, but --trust-request-chat-template is not set. Refused request."
        raise InvalidRequestError(message, parameter="chat_template")
    # As a text, not through with_template: that would also read files.
    content_format = context.settings.chat_template_content_format
    renderer = ChatRenderer(context.engine.tokenizer, request.chat_template, content_format=content_format)
    return context.chat_format.with_renderer(renderer)


def _template_arguments(context: ServerContext, request: TemplateFields) -> dict[str, Any]:
    return {
        **_template_kwargs(context, request),
        "add_generation_prompt": request.add_generation_prompt,
        "continue_final_message": request.continue_final_message,
    }


def _template_kwargs(context: ServerContext, request: TemplateFields) -> dict[str, Any]:
    own = dict(request.chat_template_kwargs or {})
    if request.reasoning_effort is not None:
        own.setdefault("enable_thinking", request.reasoning_effort != "none")  # as vLLM does
    given = {**context.settings.default_chat_template_kwargs, **own}
    for name in _OWN_PARAMETERS:
        if name in given:
            message = f"{name!r} is no chat template keyword; it has a parameter of its own."
            raise InvalidRequestError(message, parameter="chat_template_kwargs")
    if request.documents is not None:
        given["documents"] = request.documents
    if request.reasoning_effort is not None:
        given["reasoning_effort"] = request.reasoning_effort
    return given


def _split_prompts(prompt: str | list[str] | list[int] | list[list[int]] | None) -> list[str | list[int]]:
    if prompt is None or prompt == []:
        raise InvalidRequestError("Either prompt or prompt_embeds must be provided and non-empty.", parameter="prompt")
    if isinstance(prompt, str):
        return [prompt]
    token_ids = [item for item in prompt if isinstance(item, int)]
    if token_ids:
        return [token_ids]
    return [item for item in prompt if not isinstance(item, int)]


async def _encode(context: ServerContext, prompt: str | list[int], request: CompletionRequest) -> PromptTokens:
    if not isinstance(prompt, str):
        return PromptTokens(prompt)
    text = context.text_limit.cut(prompt, request)
    encode = context.engine.tokenizer.encode
    return PromptTokens(await context.engine.off_loop(encode, text, request.add_special_tokens), prompt)
