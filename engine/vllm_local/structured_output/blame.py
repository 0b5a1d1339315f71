"""Errors about an answer's form, told in the words of the request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from vllm_local.errors import InvalidRequestError
from vllm_local.structured_output.json_schema import prepare_schema

_OURS = "structured_outputs.constraint"
"""The field that tools and a form were brought together in."""


@contextmanager
def blaming(field: str, tools: Sequence[tuple[str, Mapping[str, Any]]] = ()) -> Iterator[None]:
    """Lets errors about a form blame the request's field that it stands in, or the tool whose schema cannot be kept.

    Args:
        field: The field.
        tools: The names and schemas of the tools that may be called.
    """
    try:
        yield
    except InvalidRequestError as error:
        parameter = error.parameter or ""
        if parameter == _OURS:
            _check_tools(tools)
        is_named = parameter.startswith(field) and parameter != _OURS
        if is_named or not parameter.startswith(("structured_outputs", "response_format")):
            raise
        raise InvalidRequestError(str(error).replace(parameter, field), parameter=field) from error


def _check_tools(tools: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Says which tool's schema it is that cannot be kept, if it cannot be kept by itself."""
    for index, (name, schema) in enumerate(tools):
        try:
            prepare_schema(schema, parameter=f"tools[{index}].function.parameters")
        except InvalidRequestError as error:
            message = f"The tool {name!r} cannot be offered: {error}"
            raise InvalidRequestError(message, parameter="tools") from error
