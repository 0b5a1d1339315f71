"""The conversations quoted in the model card: ``python -m vllm_local.starter.transcripts [--write]``.

A ```` ```text ```` block of the card is one conversation, a line a message: "system: …", "user: …" or "user Anna: …",
"assistant: …", "tool: …"; "⏎" stands for a line break. "tools: …" (a JSON list of functions) and "thinking: yes" come
first where they are wanted. The answers are the model's own, greedy; a test replays them.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_local.starter import starter_path
from vllm_local.starter.evaluate import engine_answers
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.tokenizer import MAX_LENGTH, render

if TYPE_CHECKING:
    from vllm_local.llm import LLM

_BLOCK = re.compile(r"(?<=```text\n)(.*?)(?=```)", re.DOTALL)
_LINE = re.compile(r"(system|user|assistant|tool)(?: (\w+))?: (.*)")
_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Turn:
    """One message.

    Attributes:
        role: Who speaks.
        text: The message; an assistant's with its thoughts and tool calls, as the model wrote it.
        name: The user's name, if the message carries one.
    """

    role: str
    text: str
    name: str = ""

    def message(self) -> dict[str, Any]:
        """Return the message in OpenAI's shape."""
        if self.role != "assistant":
            named = {"name": self.name} if self.name else {}
            return {"role": self.role, "content": self.text, **named}
        content = _CALL.sub("", self.text.rpartition("</think>")[2]).strip()
        calls = [{"function": json.loads(call)} for call in _CALL.findall(self.text)]
        return {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}

    def line(self) -> str:
        """Return the line of the card."""
        speaker = f"{self.role} {self.name}" if self.name else self.role
        return f"{speaker}: {self.text}".replace("\n", "⏎")


@dataclass(frozen=True)
class Transcript:
    """A quoted conversation."""

    turns: tuple[Turn, ...]
    tools: tuple[dict[str, Any], ...] = ()
    thinking: bool = False

    def text(self) -> str:
        """Return the block of the card."""
        head = [f"tools: {json.dumps(self.tools, ensure_ascii=False)}"] if self.tools else []
        head += ["thinking: yes"] if self.thinking else []
        return "\n".join([*head, *(turn.line() for turn in self.turns), ""])


def parse_transcript(block: str) -> Transcript:
    """Read a block of the card.

    Raises:
        ValueError: A line is none of those that the module's docstring names.
    """
    transcript = Transcript(())
    for line in block.strip().splitlines():
        if line.startswith("tools: "):
            transcript = replace(transcript, tools=tuple(json.loads(line.removeprefix("tools: "))))
        elif line == "thinking: yes":
            transcript = replace(transcript, thinking=True)
        elif found := _LINE.fullmatch(line):
            turn = Turn(found[1], found[3].replace("⏎", "\n"), found[2] or "")
            transcript = replace(transcript, turns=(*transcript.turns, turn))
        else:
            raise ValueError(f"not a line of a conversation: {line!r}")
    return transcript


def quoted_transcripts(card: str) -> Iterator[Transcript]:
    """Yield the conversations that the card quotes."""
    for found in _BLOCK.finditer(card):
        yield parse_transcript(found[1])


def replay(llm: LLM, transcript: Transcript) -> Transcript:
    """Ask the model everything again; its answers take the place of those in the transcript."""
    turns: list[Turn] = []
    for turn in transcript.turns:
        if turn.role == "assistant":
            messages = [earlier.message() for earlier in turns]
            conversation = Conversation(messages, transcript.tools, transcript.thinking)
            (answer,) = engine_answers(llm, [render(conversation, add_generation_prompt=True)])
            turns.append(replace(turn, text=answer.text))
        else:
            turns.append(turn)
    return replace(transcript, turns=tuple(turns))


def main() -> None:
    """Replay the conversations of the card, and print them or write the new answers into it."""
    from vllm_local.llm import LLM

    parser = argparse.ArgumentParser(description="Replay the conversations that the model card quotes.")
    parser.add_argument("--model", type=Path, default=starter_path(), help="model folder")
    parser.add_argument("--card", type=Path, default=Path(str(files(__package__) / "README.md")), help="model card")
    parser.add_argument("--write", action="store_true", help="write the answers into the card")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    card = arguments.card.read_text(encoding="utf-8")
    with LLM(model=str(arguments.model), max_model_len=MAX_LENGTH) as llm:
        fresh = _BLOCK.sub(lambda found: replay(llm, parse_transcript(found[1])).text(), card)
    if arguments.write:
        arguments.card.write_text(fresh, encoding="utf-8")
    for block in _BLOCK.findall(fresh):
        _logger.info("%s", block)


if __name__ == "__main__":
    main()
