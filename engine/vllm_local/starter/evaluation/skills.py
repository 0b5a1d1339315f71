"""The skills that are measured, each with the seeded stream of its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

from vllm_local.starter.evaluation.answer import Rule
from vllm_local.starter.evaluation.sample import Sample, sample_of
from vllm_local.starter.sampler import HELD_OUT_PAIRS, HELD_OUT_SHAPES, TRAIN, Split
from vllm_local.starter.skills.choices import choose
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.copying import drill
from vllm_local.starter.skills.extraction import extraction
from vllm_local.starter.skills.instructions import instructions
from vllm_local.starter.skills.messages import Message, system
from vllm_local.starter.skills.numbers import counting, held_out_sum
from vllm_local.starter.skills.objects import short_object
from vllm_local.starter.skills.recall import long_recall, recall_one
from vllm_local.starter.skills.smalltalk import smalltalk, unknown
from vllm_local.starter.skills.thinking import think_letters, think_sum
from vllm_local.starter.skills.tool_calls import (
    answer_result,
    call_foreign_text,
    call_nothing,
    call_one,
    call_two,
    call_without_arguments,
    long_agent,
    no_tool_fits,
    react_to_error,
)
from vllm_local.starter.skills.translation import translate_one_frame
from vllm_local.starter.source import Source
from vllm_local.starter.tables import read_blocks

Maker = Callable[[Source], Conversation | Sequence[Message]]

_ROOM = 1024
_TRIES = 40


@dataclass(frozen=True)
class Skill:
    """How one skill's samples are drawn and judged.

    Attributes:
        maker: Makes a conversation whose last message is the right answer.
        accept: What counts as right.
        frames: "train" or "heldout": which ways to ask.
        values: "train" or "heldout": which words, names, numbers and tools.
        sentences: Which sentences to translate.
        room: Tokens that a conversation may take, about.
        characters: Length that the prompt has at least; about three characters are a token, of JSON two and a half.
        drawn_as: Name of the skill whose very samples these are, judged in another way.
    """

    maker: Maker
    accept: Rule = "exact"
    frames: str = "heldout"
    values: str = "heldout"
    sentences: Split = TRAIN
    room: int = _ROOM
    characters: int = 0
    drawn_as: str = ""

    def samples(self, rng: Random) -> Iterator[Sample]:
        """Yield samples without end."""
        source = Source(rng, frames=self.frames, values=self.values, sentences=self.sentences, room=self.room)
        while True:
            sample = sample_of(self.maker(source), self.accept)
            if len(sample.prompt) >= self.characters:
                yield sample


def _smalltalk(source: Source) -> list[Message]:
    """Return a line of small talk, with or without a system message."""
    systems = ("", *read_blocks("train/translation.txt")["plain system"])
    text = source.rng.choice(systems)
    return [*([system(text)] if text else []), *smalltalk(source)]


SKILLS: dict[str, Skill] = {
    "translation: new word pairs": Skill(translate_one_frame, frames="train", sentences=HELD_OUT_PAIRS),
    "translation: new sentence shapes": Skill(translate_one_frame, frames="train", sentences=HELD_OUT_SHAPES),
    "translation: new ways to ask": Skill(translate_one_frame, sentences=HELD_OUT_PAIRS),
    "recall: new names and numbers": Skill(recall_one, frames="train"),
    "recall: new ways to tell and ask": Skill(recall_one),
    "recall: at 2,000 tokens": Skill(long_recall, room=2300, characters=6_000),
    "small talk": Skill(_smalltalk),
    "says that it does not know": Skill(unknown),
    "tools: the right one with all arguments": Skill(call_one),
    "tools: the same at 2,000 tokens": Skill(long_agent, room=1800, characters=4_900),
    "tools: non-ASCII arguments": Skill(call_foreign_text),
    "tools: two calls": Skill(call_two),
    "tools: call without arguments": Skill(call_without_arguments),
    "tools: no needless call": Skill(call_nothing, accept="no call"),
    "tools: … and the right answer": Skill(call_nothing, drawn_as="tools: no needless call"),
    "tools: none fits": Skill(no_tool_fits),
    "tools: answer from a result": Skill(answer_result),
    "tools: reaction to an error": Skill(react_to_error),
    "extraction": Skill(extraction),
    "answer with one of": Skill(choose),
    "short object": Skill(short_object),
    "sums with thinking": Skill(think_sum, accept="after thinking"),
    "sums without thinking": Skill(held_out_sum),
    "counting letters with thinking": Skill(think_letters, accept="after thinking"),
    "counting": Skill(counting),
    "repeating": Skill(drill),
    "instructions: stop and limits": Skill(instructions),
}


def draw_samples(skill: str, count: int, seed: int) -> list[Sample]:
    """Return the seeded samples of a skill, no two alike; fewer where the lists give no more."""
    definition = SKILLS[skill]
    stream = definition.samples(Random(f"{seed}/{definition.drawn_as or skill}"))
    distinct: dict[str, Sample] = {}
    for sample in islice(stream, count * _TRIES):
        distinct.setdefault(sample.prompt, sample)
        if len(distinct) == count:
            break
    return list(distinct.values())
