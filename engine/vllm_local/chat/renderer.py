"""A conversation's prompt: messages and tools through the model's chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vllm_local.chat.chat_template import FALLBACK_TEMPLATE, ChatTemplate, ContentFormat, load_chat_template
from vllm_local.chat.conversation import conversation_variants
from vllm_local.chat.messages import Message, normalize_messages
from vllm_local.errors import ChatTemplateError, InvalidRequestError, UnsupportedInputError
from vllm_local.tokenizer.tokenizer import Tokenizer
from vllm_local.tokenizer.tokenizer_files import DEFAULT_TEMPLATE_NAME

__all__ = ["ChatRenderer", "load_chat_template"]

_TOOL_TEMPLATE_NAME = "tool_use"


class ChatRenderer:
    """Renders conversations for one model; safe to use from any number of threads.

    A template that refuses a conversation gets it in other words: messages of one role in a row merged, system
    messages folded into the user's. A model without a template gets `FALLBACK_TEMPLATE`.

    Attributes:
        is_fallback: Whether the model has no template of its own.
    """

    def __init__(
        self, tokenizer: Tokenizer, chat_template: str | None = None, *, content_format: ContentFormat = "auto"
    ) -> None:
        """Takes the templates.

        Args:
            tokenizer: The model's, with the templates that its files hold.
            chat_template: The text of one that replaces them all.
            content_format: Whether contents are shown to them as texts or as lists of parts; found out by default.
        """
        self._tokenizer = tokenizer
        self._text = chat_template
        self._content_format: ContentFormat = content_format
        texts = tokenizer.chat_templates if chat_template is None else {DEFAULT_TEMPLATE_NAME: chat_template}
        self.is_fallback = not texts
        special_tokens = tokenizer.special_tokens
        self._templates = {name: ChatTemplate(text, special_tokens, content_format) for name, text in texts.items()}
        if self.is_fallback:
            self._templates = {DEFAULT_TEMPLATE_NAME: self._make_fallback()}

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **template_kwargs: Any,
    ) -> str:
        """Returns a conversation's prompt as text, special tokens written out.

        Args:
            messages: As OpenAI's chat completions take them.
            tools: Tools in OpenAI's shape; an empty list is none.
            add_generation_prompt: End with the beginning of an assistant's message.
            continue_final_message: End inside the last message, for the model to go on with it.
            **template_kwargs: Whatever else the template knows (`documents`, `enable_thinking`, …).

        Raises:
            InvalidRequestError: A message is malformed, or the arguments are at odds.
            UnsupportedInputError: There is an image or the like, or there are tools without a template.
            ChatTemplateError: The template refuses the conversation in all its forms.
        """
        if continue_final_message and add_generation_prompt:
            message = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
            raise InvalidRequestError(message, parameter="continue_final_message")
        tools = tools or None
        if self.is_fallback and tools is not None:
            message = "This model has no chat template that tells of tools; ChatFormat.prepare describes them in words."
            raise UnsupportedInputError(message, parameter="tools")
        template = self._choose(with_tools=tools is not None)
        first_error: ChatTemplateError | None = None
        for variant in conversation_variants(_adapt(normalize_messages(messages), template)):
            try:
                return template.render(
                    variant,
                    tools,
                    add_generation_prompt=add_generation_prompt,
                    continue_final_message=continue_final_message,
                    **template_kwargs,
                )
            except ChatTemplateError as error:
                first_error = first_error or error
        assert first_error is not None, "there is one variant at least"
        raise first_error

    def template_text(self, *, with_tools: bool = False) -> str:
        """Returns the text of the template that renders conversations, with tools or without.

        Raises:
            ChatTemplateError: There are only templates that must be asked for by name.
        """
        return self._choose(with_tools=with_tools).text

    def with_template(self, chat_template: str | None, *, content_format: ContentFormat | None = None) -> ChatRenderer:
        """Returns a renderer with another template, or this one if none is given.

        Args:
            chat_template: A template's text, the path of one, or the name of one that the model has.
            content_format: How contents are shown to it; as here by default.

        Raises:
            InvalidConfigError: It is none of these.
        """
        content_format = content_format or self._content_format
        if chat_template is None:
            unchanged = content_format == self._content_format
            return self if unchanged else ChatRenderer(self._tokenizer, self._text, content_format=content_format)
        named = self._templates.get(chat_template)
        text = named.text if named is not None else load_chat_template(chat_template)
        return ChatRenderer(self._tokenizer, text, content_format=content_format)

    def _choose(self, *, with_tools: bool) -> ChatTemplate:
        """Chooses as transformers' `get_chat_template` does."""
        if with_tools and _TOOL_TEMPLATE_NAME in self._templates:
            return self._templates[_TOOL_TEMPLATE_NAME]
        if DEFAULT_TEMPLATE_NAME in self._templates:
            return self._templates[DEFAULT_TEMPLATE_NAME]
        names = ", ".join(sorted(self._templates))
        message = f"The model has no chat template {DEFAULT_TEMPLATE_NAME!r}, but {names}; name one as chat_template=."
        raise ChatTemplateError(message, parameter="chat_template")

    def _make_fallback(self) -> ChatTemplate:
        """Returns the fallback, begun as the tokenizer begins a plain prompt."""
        adds_bos = self._tokenizer.adds_bos_token and self._tokenizer.bos_token is not None
        prefix = "{{- bos_token -}}" if adds_bos else ""
        return ChatTemplate(prefix + FALLBACK_TEMPLATE, self._tokenizer.special_tokens)


def _adapt(messages: list[Message], template: ChatTemplate) -> list[Message]:
    """Uses the names that templates know: "tool" for "function", "system" unless "developer" is known, "thinking"."""
    names = {"function": "tool", "developer": "developer" if template.mentions("developer") else "system"}
    adapted = [{**message, "role": names.get(message["role"], message["role"])} for message in messages]
    if template.mentions("message.thinking"):
        for message in adapted:
            # gpt-oss's refuses a call's thoughts beside words: it shows those words as thoughts.
            has_both = message["content"] and message.get("tool_calls")
            message["thinking"] = None if has_both else message.get("reasoning_content")
    return adapted
