"""Tools and the form of an answer, bound to a chat model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool

from langchain_vllm_local._answer_parser import AnswerParser
from langchain_vllm_local._batch_model import BatchingChatModel
from langchain_vllm_local._errors import translated_errors
from langchain_vllm_local._messages import to_openai_tool_choice, to_openai_tools
from langchain_vllm_local._schemas import AnswerSchema, answer_schema, response_format_of
from vllm_local.errors import InvalidRequestError

StructuredMethod = Literal["json_schema", "function_calling", "json_mode"]


class BindableChatModel(BatchingChatModel):
    """Binds tools and forms of answers, as ChatOpenAI does; answers nothing by itself."""

    def bind_tools(
        self,
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: Mapping[str, Any] | str | bool | None = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        response_format: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Returns this model with tools that it may call.

        Args:
            tools: Tools, functions, Pydantic classes, TypedDicts or schemas; an empty list sends none.
            tool_choice: `"auto"` leaves it to the model, `"any"` (or `"required"`, or True) forces a call, a tool's
                name one of that tool, and `"none"` forbids calls.
            strict: OpenAI's word. Calls obey their tool's schema with and without it; True also closes the schema.
            parallel_tool_calls: False allows one call in an answer.
            response_format: The form of an answer that is no call: a schema of any kind, or OpenAI's dict.
            **kwargs: Further parameters of the calls.

        Raises:
            InvalidRequestError: Something is no tool, no choice among them, or no schema.
        """
        with translated_errors():
            converted = to_openai_tools(tools, strict=strict)
            choice = to_openai_tool_choice(tool_choice, converted)
            bound = {
                "tools": converted,
                "tool_choice": choice,
                "parallel_tool_calls": parallel_tool_calls,
                "response_format": response_format_of(response_format, strict=strict) if response_format else None,
            }
        return self.bind(**{name: value for name, value in bound.items() if value is not None}, **kwargs)

    def with_structured_output(
        self,
        schema: Any = None,
        *,
        method: StructuredMethod = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Returns a runnable whose answers are objects of a schema.

        Args:
            schema: A class of Pydantic (2 or 1), a dataclass, a TypedDict, or a JSON schema. Classes give instances,
                the others dicts. With `method="json_mode"` it may be left out.
            method: `"json_schema"` makes the answer itself obey the schema, `"function_calling"` the arguments of a
                tool's call; `"json_mode"` asks servers for any JSON object, and the engine of this package for the
                schema.
            include_raw: Return a dict with the message ("raw"), the object or None ("parsed"), and the error or None
                ("parsing_error").
            strict: OpenAI's word. The schema is kept with and without it; True also closes all objects and requires
                all properties.
            **kwargs: Further parameters of the calls.

        Returns:
            A runnable that raises an OutputParserException where an answer is not what the schema says: because
            `max_tokens` ended it, or because somebody else's server does not keep schemas.

        Raises:
            InvalidRequestError: The schema or the method is none.
        """
        with translated_errors():
            if schema is None and method != "json_mode":
                raise InvalidRequestError(f"method={method!r} needs a schema.", parameter="schema")
            answer = answer_schema(schema, strict=strict)
            bound = _bound_for(method, answer, has_schema=schema is not None)
        if schema is not None:
            # Read by tracers, through LangChain.
            bound["ls_structured_output_format"] = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
        llm = self.bind(**{**bound, **kwargs})
        parser = AnswerParser(answer=answer, from_tool_call=method == "function_calling")
        if not include_raw:
            return llm | parser
        parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        failed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=llm) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _bound_for(method: str, answer: AnswerSchema, *, has_schema: bool) -> dict[str, Any]:
    """Returns the parameters by which a method asks for an answer."""
    if method == "json_schema":
        return {"response_format": answer.response_format()}
    if method == "function_calling":
        choice = {"type": "function", "function": {"name": answer.name}}
        return {"tools": [answer.tool()], "tool_choice": choice, "parallel_tool_calls": False}
    if method == "json_mode":
        schema = {"schema": dict(answer.json_schema)} if has_schema else {}
        return {"response_format": {"type": "json_object", **schema}}
    message = f"method={method!r} is unknown; use 'json_schema', 'function_calling' or 'json_mode'."
    raise InvalidRequestError(message, parameter="method")
