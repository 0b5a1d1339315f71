"""The training data: an endless, seeded stream of conversations."""

from collections.abc import Callable
from random import Random

from vllm_local.starter.skills.copying import drill, last_of_list, tool_result
from vllm_local.starter.skills.messages import Message, system
from vllm_local.starter.skills.numbers import counting, sums
from vllm_local.starter.skills.recall import (
    from_system,
    introduction,
    long_recall,
    named_user,
    not_told,
    one_message,
    recall,
    two_in_a_row,
)
from vllm_local.starter.skills.smalltalk import conversation
from vllm_local.starter.skills.translation import few_shot, other_language, say_phrase, translate
from vllm_local.starter.source import Source

Maker = Callable[[Source], list[Message]]
_SKILLS: tuple[tuple[float, Maker], ...] = (
    (52, translate),
    (2, few_shot),
    (2, say_phrase),
    (3, other_language),
    (16, conversation),
    (12, recall),
    (2, two_in_a_row),
    (2, introduction),
    (2, one_message),
    (2, not_told),
    (1.5, from_system),
    (1, named_user),
    (2, counting),
    (3, sums),
    (1.5, tool_result),
)


_LONG_FROM = 400


def draw_conversation(rng: Random, drills: float = 0.05, room: int = 256) -> list[Message]:
    """Return one training conversation.

    Args:
        rng: Source of randomness; the same state gives the same conversation.
        drills: Share of copy drills.
        room: Tokens that fit; where there are many, some conversations are long.
    """
    source = Source(rng)
    if room > _LONG_FROM and source.chance(0.06):
        return long_recall(source, room)
    if source.chance(drills):
        return drill(source) if source.chance(0.6) else last_of_list(source)
    makers = [maker for _, maker in _SKILLS]
    messages = rng.choices(makers, [weight for weight, _ in _SKILLS])[0](source)
    if messages[0]["role"] != "system" and source.chance(0.1):
        return [system(source.frame("translation", "plain system")), *messages]
    return messages
