"""What a request says about the form of its answer: OpenAI's words, vLLM's, and those that vLLM had before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from vllm_local.chat.response_format import read_response_format
from vllm_local.errors import InvalidRequestError
from vllm_local.grammar_spec import Constraint
from vllm_local.server.protocol.base import FormFields
from vllm_local.structured_output.blame import blaming
from vllm_local.structured_output.compiler import as_constraint
from vllm_local.structured_outputs_params import StructuredOutputsParams

_OWN = ("constraint", "starts_after")
_NAMES = tuple(item.name for item in fields(StructuredOutputsParams) if item.name not in _OWN)
_WITHOUT_EFFECT = ("disable_fallback", "_backend", "_backend_was_auto", "backend")
"""They choose among backends, of which there is one."""
_OLDER_NAMES: Mapping[str, str] = {
    "structural_tag": "structural_tag",
    "guided_json": "json",
    "guided_json_object": "json_object",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
}


@dataclass(frozen=True)
class AnswerForm:
    """What an answer must look like.

    Attributes:
        field: The request's field that says so.
        constraint: What it says.
    """

    field: str
    constraint: Constraint


def read_answer_form(request: FormFields) -> AnswerForm | None:
    """Returns the form that a request asks for, None if it asks for none.

    Raises:
        InvalidRequestError: It is malformed, or there are two; `parameter` names the field.
    """
    found = list(_given(request))
    if len(found) > 1:
        names = " and ".join(form.field for form in found)
        raise InvalidRequestError(f"An answer has one form, but {names} each ask for one.", parameter=found[1].field)
    return found[0] if found else None


def read_format(response_format: Mapping[str, Any] | None, field: str) -> AnswerForm | None:
    """Returns what OpenAI's `response_format` asks for, None if that is a text.

    Args:
        response_format: As chat completions have it, or as the newer APIs, which do not nest its schema.
        field: Where it stands.

    Raises:
        InvalidRequestError: It is malformed.
    """
    if response_format is not None and response_format.get("type") == "json_schema":
        response_format = {"json_schema": response_format, **response_format}
    with blaming(field):
        form = read_response_format(response_format)
        return None if form is None else AnswerForm(field, as_constraint(form))


def _given(request: FormFields) -> Iterator[AnswerForm]:
    """Yields each form that a request asks for."""
    response_format = read_format(request.response_format, "response_format")
    if response_format is not None:
        yield response_format
    if request.structured_outputs:
        yield _make("structured_outputs", _checked(request.structured_outputs))
    for field, name in _OLDER_NAMES.items():
        value = getattr(request, field)
        if value is not None and value is not False:
            yield _make(field, {name: value, "whitespace_pattern": request.guided_whitespace_pattern})


def _make(field: str, given: Mapping[str, Any]) -> AnswerForm:
    with blaming(field):
        return AnswerForm(field, as_constraint(StructuredOutputsParams(**given)))


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [name for name in given if name not in (*_NAMES, *_WITHOUT_EFFECT)]
    if unknown:
        message = f"structured_outputs has no field {unknown[0]!r}; it takes {', '.join(_NAMES)}."
        raise InvalidRequestError(message, parameter="structured_outputs")
    return {name: value for name, value in given.items() if name in _NAMES and value is not None}
