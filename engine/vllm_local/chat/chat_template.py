"""One Jinja chat template, rendered by transformers' own sandboxed renderer."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from vllm_local.chat.messages import Message, as_parts, as_text
from vllm_local.errors import ChatTemplateError, InvalidConfigError, InvalidRequestError

FALLBACK_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- {'system': 'System', 'developer': 'System', 'user': 'User', 'assistant': 'Assistant'}"
    ".get(message.role, 'Tool') + ': ' + message.content -}}"
    "{%- if not loop.last or add_generation_prompt %}{{ '\\n\\n' }}{% endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}"
)
"""For models that have none, which are mostly base models, such as MPT: a transcript for them to continue.

They continue it beyond their own turn, so `stop=["\\n\\nUser:"]` is good company.
"""

ContentFormat: TypeAlias = Literal["auto", "string", "openai"]
"""How a message's content is shown to a template; vLLM's names."""

_RESERVED_NAMES = ("conversations", "chat_template", "tokenize", "return_assistant_tokens_mask")
_PROBE = "b2f0c1"


class ChatTemplate:
    """A compiled template and what it understands."""

    def __init__(self, text: str, special_tokens: Mapping[str, str], content_format: ContentFormat = "auto") -> None:
        """Takes a template; it is compiled when it is first rendered.

        Args:
            text: Jinja, as transformers' `apply_chat_template` understands it.
            special_tokens: What the template knows as `bos_token` and the like.
            content_format: Whether contents are shown to it as texts ("string") or as lists of parts ("openai"); "auto"
                finds out what it takes.
        """
        self._content_format = content_format
        self.text = text
        self._special_tokens = special_tokens

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **template_kwargs: Any,
    ) -> str:
        """Returns the prompt.

        Args:
            messages: Normalized messages.
            tools: Tools in OpenAI's shape.
            add_generation_prompt: End with the beginning of an assistant's message.
            continue_final_message: End inside the last message.
            **template_kwargs: Whatever else the template knows (`documents`, `enable_thinking`, …).

        Raises:
            ChatTemplateError: The template refuses the messages, or is no valid template.
            InvalidRequestError: A keyword is not the template's.
        """
        for name in _RESERVED_NAMES:
            if name in template_kwargs:
                message = f"{name!r} is no chat template keyword; it has a parameter of its own."
                raise InvalidRequestError(message, parameter="chat_template_kwargs")
        shown = [{**message, "content": self._adapt(message["content"])} for message in messages]
        try:
            return self._render(
                shown,
                tools=None if tools is None else list(tools),
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                **template_kwargs,
            )
        except Exception as error:
            message = f"The chat template cannot render these messages: {str(error) or type(error).__name__}"
            raise ChatTemplateError(message, parameter="messages") from error

    def mentions(self, word: str) -> bool:
        """Whether the word stands anywhere in the template."""
        return word in self.text

    @functools.cached_property
    def takes_text(self) -> bool:
        """Whether it shows a content that is a text. If it shows nothing of either kind, it is taken to."""
        if self._content_format != "auto":
            return self._content_format == "string"
        return self._try(_PROBE) is not None or not self.takes_parts

    @functools.cached_property
    def takes_parts(self) -> bool:
        """Whether it shows a content that is a list of text parts, as it does the text itself."""
        if self._content_format != "auto":
            return self._content_format == "openai"
        shown = self._try([{"type": "text", "text": _PROBE}])
        return shown is not None and "'type'" not in shown and '"type"' not in shown

    def _try(self, content: str | list[Message]) -> str | None:
        """Renders one user message; None if the template refuses it or does not show it."""
        try:
            shown = self._render([{"role": "user", "content": content}])
        except Exception:  # noqa: BLE001 - a template may fail in any way
            return None
        return shown if _PROBE in shown else None

    def _render(self, messages: list[Message], **kwargs: Any) -> str:
        from transformers.utils import chat_template_utils

        # Its annotation is wrong: it returns one text a conversation, and the places of generated tokens.
        render: Any = chat_template_utils.render_jinja_template
        rendered, _ = render(conversations=[messages], chat_template=self.text, **{**self._special_tokens, **kwargs})
        return str(rendered[0])

    def _adapt(self, content: str | list[Message]) -> str | list[Message]:
        """Returns a content in the form that the template shows."""
        if isinstance(content, str):
            return content if self.takes_text else as_parts(content)
        return content if self.takes_parts else as_text(content)


def load_chat_template(chat_template: str | None) -> str | None:
    """Returns the text of a template given as itself or as a file's path.

    Raises:
        InvalidConfigError: It is neither.
    """
    if chat_template is None:
        return None
    if not isinstance(chat_template, str):
        raise InvalidConfigError(f"chat_template must be a text, got {type(chat_template).__name__}.")
    looks_like_jinja = any(character in chat_template for character in "{}\n")
    # Unlike pathlib's, it raises nothing where the name is too long.
    if not looks_like_jinja and os.path.isfile(chat_template):  # noqa: PTH113
        try:
            return Path(chat_template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfigError(f"The chat template {chat_template} cannot be read ({error}).") from error
    if not looks_like_jinja:
        raise InvalidConfigError(f"chat_template={chat_template!r} is neither a file nor a Jinja template.")
    return chat_template
