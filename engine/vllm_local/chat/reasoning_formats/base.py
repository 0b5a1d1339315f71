"""What a format of reasoning is: where thoughts begin and end in an answer, and before it in the prompt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, TypeAlias

from vllm_local.chat.text_source import Reading, TextSource
from vllm_local.chat.tool_formats.base import CallWriter
from vllm_local.grammar_spec import Constraint

ReasoningState: TypeAlias = Literal["open", "closed", "free"]
"""How a prompt leaves off: within thoughts, past them (or where there are to be none), or with the model's choice."""

Rest: TypeAlias = Callable[[], Reading[None]]
"""Reads what follows the thoughts."""


class ReasoningFormat(ABC):
    """One way to tell thoughts from the answer.

    Attributes:
        name: Ours; what the log says.
        vllm_parser_names: What vLLM calls it as `--reasoning-parser`.
        markers: Texts that it is told apart by, where they are special tokens: a text to read must show them.
        starts: What begins thoughts; the first is the usual one.
        end: What ends the thoughts; None where messages of their own hold them.
    """

    name: ClassVar[str]
    vllm_parser_names: ClassVar[tuple[str, ...]] = ()
    markers: ClassVar[tuple[str, ...]] = ()
    starts: ClassVar[tuple[str, ...]] = ()
    end: ClassVar[str | None] = None

    @abstractmethod
    def matches(self, template: str) -> bool:
        """Whether a chat template is that of a model that thinks in this format."""

    @abstractmethod
    def state(self, prompt: str, template: str, *, continues: bool = False) -> ReasoningState:
        """Returns how a prompt leaves off.

        Args:
            prompt: As the template rendered it.
            template: The template's text, which shows whether thinking can be switched.
            continues: The prompt ends inside of the assistant's message, which the answer continues.
        """

    @abstractmethod
    def before(self, state: ReasoningState) -> Constraint | None:
        """Returns what may stand before a constrained answer; behind `end`, where the state is "open"."""

    @abstractmethod
    def read(self, source: TextSource, state: ReasoningState, calls: CallWriter | None, rest: Rest) -> Reading[None]:
        """Yields the thoughts, and what `rest` makes of the answer.

        Args:
            source: Stands where the answer begins.
            state: How the prompt leaves off.
            calls: For formats whose calls stand among the thoughts; None where a request has no tools.
            rest: Reads the answer behind the thoughts.
        """
