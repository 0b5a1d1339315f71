"""The training data: an endless, seeded stream of conversations."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from vllm_local.starter.skills import recall, tool_calls
from vllm_local.starter.skills.choices import choose, several_choices
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.copying import drills as copy_drills
from vllm_local.starter.skills.extraction import extraction, repeated_extractions, several_extractions
from vllm_local.starter.skills.instructions import instructions
from vllm_local.starter.skills.messages import Message, system
from vllm_local.starter.skills.numbers import counting, sums
from vllm_local.starter.skills.objects import several_objects, short_object
from vllm_local.starter.skills.smalltalk import conversation
from vllm_local.starter.skills.thinking import spell, think_letters, think_other, think_sum
from vllm_local.starter.skills.tool_results import result_drill
from vllm_local.starter.skills.translation import few_shot, other_language, say_phrase, translate
from vllm_local.starter.source import Source

Maker = Callable[[Source], Conversation | list[Message]]
_SKILLS: tuple[tuple[float, Maker], ...] = (
    (100, translate),
    (1, few_shot),
    (1, say_phrase),
    (1.5, other_language),
    (8, conversation),
    (8, recall.recall),
    (5, recall.quiz),
    (1, recall.spread_recall),
    (0.5, recall.correction),
    (1, recall.several_in_one),
    (0.7, recall.two_attributes),
    (0.6, recall.introduction),
    (0.6, recall.two_in_a_row),
    (0.6, recall.one_message),
    (2, recall.not_told),
    (0.7, recall.from_system),
    (0.4, recall.named_user),
    (0.5, recall.several_users),
    (38, extraction),
    (20, several_extractions),
    (50, repeated_extractions),
    (14, choose),
    (60, several_choices),
    (6, short_object),
    (5, several_objects),
    (20, think_sum),
    (55, think_letters),
    (2.5, think_other),
    (10, spell),
    (36, instructions),
    (2, counting),
    (14, sums),
    (6, result_drill),
)
# Describing the tools takes most of a conversation's tokens, so most conversations ask for several calls.
_TOOLS: tuple[tuple[float, Maker], ...] = (
    (11, tool_calls.call_one),
    (6, tool_calls.call_foreign_text),
    (5, tool_calls.call_without_arguments),
    (11, tool_calls.call_two),
    (5, tool_calls.call_nothing),
    (6, tool_calls.no_tool_fits),
    (9, tool_calls.answer_result),
    (2, tool_calls.react_to_error),
    (22, tool_calls.agent),
    (38, tool_calls.several_calls),
)
_PLAIN_SYSTEM = 0.1
_LONG_FROM, _LONG_SHARE = 2000, 0.5


def tool_share(room: int) -> float:
    """Return the share of conversations with tools: higher where there is room for their descriptions."""
    return 0.36 if room < 400 else 0.46 if room < 2000 else 0.6


def draw_conversation(rng: Random, drills: float = 0.05, room: int = 256) -> Conversation:
    """Return one training conversation.

    Args:
        rng: Source of randomness; the same state gives the same conversation.
        drills: Share of copy drills.
        room: Tokens that fit; where there are many, some conversations are long.
    """
    return converse(Source(rng, room=room), drills)


def converse(source: Source, drills: float = 0.05) -> Conversation:
    """Return one conversation of any skill from this source."""
    if source.chance(drills):
        return Conversation(copy_drills(source))
    if source.room > _LONG_FROM and source.chance(_LONG_SHARE):
        return Conversation(recall.spread_recall(source)) if source.chance(0.4) else tool_calls.long_agent(source)
    if source.chance(tool_share(source.room)):
        return _drawn(source, _TOOLS)
    made = _drawn(source, _SKILLS)
    if made.messages[0]["role"] != "system" and not made.tools and source.chance(_PLAIN_SYSTEM):
        plain = system(source.frame("translation", "plain system"))
        return Conversation([plain, *made.messages], made.tools, made.thinking)
    return made


def _drawn(source: Source, table: tuple[tuple[float, Maker], ...]) -> Conversation:
    makers = [maker for _, maker in table]
    made = source.rng.choices(makers, [weight for weight, _ in table])[0](source)
    return made if isinstance(made, Conversation) else Conversation(made)
