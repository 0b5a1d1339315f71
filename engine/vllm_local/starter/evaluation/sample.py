"""An evaluation sample: what the model reads, and the answer that is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from vllm_local.starter.evaluation.answer import Answer, Rule, is_accepted
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.messages import Message
from vllm_local.starter.tokenizer import END, render


@dataclass(frozen=True)
class Sample:
    """A conversation that waits for an answer, and the answer.

    Attributes:
        conversation: The conversation without its last answer.
        expected: What the model must say, character for character: thoughts, content and tool calls.
        accept: What else than the very same text is right.
    """

    conversation: Conversation
    expected: str
    accept: Rule = "exact"

    @cached_property
    def prompt(self) -> str:
        """The text that the model continues."""
        return render(self.conversation, add_generation_prompt=True)

    def accepts(self, answer: Answer) -> bool:
        """Whether the answer is right."""
        return is_accepted(self.accept, self.expected, answer)


def sample_of(drawn: Conversation | Sequence[Message], accept: Rule = "exact") -> Sample:
    """Return the sample whose answer is the last message of a conversation.

    Raises:
        ValueError: The last message is not what the template's generation prompt leads to.
    """
    whole = drawn if isinstance(drawn, Conversation) else Conversation(drawn)
    asked = replace(whole, messages=whole.messages[:-1])
    sample = Sample(asked, "", accept)
    rest = render(whole).removeprefix(sample.prompt)
    answer, end, _ = rest.rpartition(END)
    if rest.startswith("<|im_start|>") or not end:
        raise ValueError(f"no answer follows the prompt: {whole.messages[-1]}")
    return replace(sample, expected=answer)
