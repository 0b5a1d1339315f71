"""All that a model wants of a conversation: how it is written, and how its answers are to be read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_local.chat.answer_constraint import constrain_answer
from vllm_local.chat.chat_template import ContentFormat
from vllm_local.chat.messages import normalize_messages
from vllm_local.chat.reasoning_formats import ReasoningFormat, ReasoningState, detect_reasoning_format
from vllm_local.chat.renderer import ChatRenderer
from vllm_local.chat.stream_router import StreamRouter
from vllm_local.chat.tool_formats import ToolFormat, detect_tool_format
from vllm_local.chat.tool_prompt import describe_tools
from vllm_local.chat.tools import ToolRequest
from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Constraint
from vllm_local.structured_outputs_params import StructuredOutputsParams
from vllm_local.thinking_budget import ThinkingBudget
from vllm_local.tokenizer.tokenizer import Tokenizer

_NO_TOOLS = ToolRequest()


@dataclass(frozen=True)
class PreparedChat:
    """A conversation that is ready for the engine.

    Attributes:
        text: The prompt, special tokens written out; to be encoded without any more of them.
        structured_outputs: What the answer must look like; None if anything goes.
        shows_special_tokens: The answer must be read with `skip_special_tokens=False`: its calls or its thoughts are
            told apart by special tokens.
        reasoning_format: How the model thinks; None if it does not.
        reasoning_state: How the prompt leaves off.
        make_router: Returns a new router for each answer.
    """

    text: str
    structured_outputs: StructuredOutputsParams | None
    shows_special_tokens: bool
    reasoning_format: ReasoningFormat | None
    reasoning_state: ReasoningState
    make_router: Callable[[], StreamRouter]

    def thinking_budget(self, max_tokens: int | None) -> ThinkingBudget | None:
        """Returns a limit on the thoughts of the answer; None if there is none, or if it holds no thoughts.

        Raises:
            InvalidRequestError: There is one, but the model does not think, or its thoughts cannot be cut short.
        """
        if max_tokens is None:
            return None
        thoughts = self.reasoning_format
        if thoughts is None or thoughts.end is None:
            reason = "this model does not think" if thoughts is None else f"{thoughts.name} ends no thoughts by a text"
            message = f"thinking_token_budget cannot be kept: {reason}, as far as its chat template says."
            raise InvalidRequestError(message, parameter="thinking_token_budget")
        if self.reasoning_state == "closed":
            return None
        starts = () if self.reasoning_state == "open" else thoughts.starts
        return ThinkingBudget(max_tokens, f"\n{thoughts.end}\n\n", thoughts.end, starts)


class ChatFormat:
    """A model's chat template, the way it calls tools and the way it thinks; safe to use from any number of threads.

    Both ways are found in the template when they are first needed, and logged. Where the template knows no tools, the
    system prompt describes them.

    Attributes:
        renderer: The template.
    """

    def __init__(
        self,
        renderer: ChatRenderer,
        tokenizer: Tokenizer,
        *,
        tool_call_parser: str | None = None,
        reasoning_parser: str | None = None,
    ) -> None:
        """Takes the parts.

        Args:
            renderer: The model's chat template.
            tokenizer: The model's.
            tool_call_parser: Ours or vLLM's name of the format of calls, whatever the template says.
            reasoning_parser: Ours or vLLM's name of the format of thoughts, likewise.
        """
        self.renderer = renderer
        self._tokenizer = tokenizer
        self._tool_call_parser = tool_call_parser
        self._reasoning_parser = reasoning_parser

    @functools.cached_property
    def tool_format(self) -> ToolFormat:
        """How the model calls tools.

        Raises:
            InvalidConfigError: The name that was given for it is unknown.
        """
        return detect_tool_format(self.renderer.template_text(with_tools=True), self._tool_call_parser)

    @functools.cached_property
    def reasoning_format(self) -> ReasoningFormat | None:
        """How the model thinks; None if it does not.

        Raises:
            InvalidConfigError: The name that was given for it is unknown.
        """
        return detect_reasoning_format(self.renderer.template_text(), self._reasoning_parser)

    def with_template(self, chat_template: str | None, *, content_format: ContentFormat | None = None) -> ChatFormat:
        """Returns the same with another template; arguments and errors are those of `ChatRenderer.with_template`."""
        return self.with_renderer(self.renderer.with_template(chat_template, content_format=content_format))

    def with_renderer(self, renderer: ChatRenderer) -> ChatFormat:
        """Returns the same with another renderer, or this one if it is its own."""
        if renderer is self.renderer:
            return self
        names = {"tool_call_parser": self._tool_call_parser, "reasoning_parser": self._reasoning_parser}
        return ChatFormat(renderer, self._tokenizer, **names)

    def with_parsers(self, tool_call_parser: str | None = None, reasoning_parser: str | None = None) -> ChatFormat:
        """Returns the same with formats by name; None leaves one as it is."""
        if tool_call_parser is None and reasoning_parser is None:
            return self
        return ChatFormat(
            self.renderer,
            self._tokenizer,
            tool_call_parser=tool_call_parser or self._tool_call_parser,
            reasoning_parser=reasoning_parser or self._reasoning_parser,
        )

    def render(self, messages: Sequence[Mapping[str, Any]], tools: ToolRequest = _NO_TOOLS, **arguments: Any) -> str:
        """Returns a conversation's prompt alone; arguments and errors are those of `prepare`."""
        if self.tool_format.describes_tools:
            return self.renderer.render(describe_tools(normalize_messages(messages), tools.tools), **arguments)
        return self.renderer.render(messages, [tool.definition for tool in tools.tools], **arguments)

    def prepare(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: ToolRequest = _NO_TOOLS,
        response: Constraint | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **template_kwargs: Any,
    ) -> PreparedChat:
        """Returns a conversation's prompt, what its answer must look like, and what reads the answer.

        Args:
            messages: As OpenAI's chat completions take them.
            tools: The tools and how they may be called; see `read_tool_request`.
            response: What an answer that is no call must look like.
            add_generation_prompt: End with the beginning of an assistant's message.
            continue_final_message: End inside the last message, for the model to go on with it.
            **template_kwargs: Whatever else the template knows (`documents`, `enable_thinking`, …).

        Raises:
            InvalidRequestError: A message is malformed, the arguments are at odds, or a tool's schema cannot be kept.
            UnsupportedInputError: There is an image or the like.
            ChatTemplateError: The template refuses the conversation in all its forms.
        """
        text = self.render(
            messages,
            tools,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            **template_kwargs,
        )
        thoughts = self.reasoning_format
        state: ReasoningState = "closed"
        if thoughts is not None:
            template = self.renderer.template_text(with_tools=bool(tools.tools))
            state = thoughts.state(text, template, continues=continue_final_message)
        return PreparedChat(
            text=text,
            structured_outputs=self._constrain(tools, response, state),
            shows_special_tokens=self._shows_special_tokens(tools),
            reasoning_format=thoughts,
            reasoning_state=state,
            make_router=functools.partial(StreamRouter, thoughts, self.tool_format, tools, reasoning_state=state),
        )

    def _constrain(
        self, tools: ToolRequest, response: Constraint | None, state: ReasoningState
    ) -> StructuredOutputsParams | None:
        found = constrain_answer(tools, response, self.tool_format, self.reasoning_format, state)
        if found is None:
            return None
        return StructuredOutputsParams(constraint=found.constraint, starts_after=found.starts_after)

    def _shows_special_tokens(self, tools: ToolRequest) -> bool:
        markers = () if self.reasoning_format is None else self.reasoning_format.markers
        if tools.callable_tools:
            markers += self.tool_format.markers
        token_ids = (self._tokenizer.convert_piece_to_id(marker) for marker in markers)
        return any(token_id in self._tokenizer.special_token_ids for token_id in token_ids)
