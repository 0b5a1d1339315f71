"""Building the tokenizer: ``python -m vllm_local.starter.tokenizer --output DIR``.

Byte-level BPE, so that any text round-trips; digits one by one, so that numbers can be copied; trained on
the generator's own text.
"""

import argparse
import itertools
import json
import logging
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from vllm_local.starter.lexicon import load_lexicon
from vllm_local.starter.skills.conversation import Conversation
from vllm_local.starter.skills.translation import translate
from vllm_local.starter.source import Source
from vllm_local.starter.values import FOREIGN_KINDS, draw_value

END = "<|im_end|>"
PAD = "<|endoftext|>"
SPECIAL = (PAD, "<|im_start|>", END)
MARKERS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
# Small, so that training copies every token often: with 3,328, one in ten copies of the rare ones went wrong.
MERGED = 1191
# Words of one token all the same: the first example, in any of the languages, has to fit into five tokens.
WHOLE_WORDS = ("amo", "programmare", "liebe", "programmer", "programar")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
MAX_LENGTH = 4096
# Words that begin no value, and so may carry the space before them: it saves a tenth of all tokens.
_JOINED = (
    "a|about|am|an|and|any|are|as|at|be|by|can|des|did|do|does|du|el|es|está|for|from|gusta|has|have|her|his|if|in|"
    "integer|into|is|it|its|know|la|le|may|me|must|my|ne|nicht|no|non|not|now|of|on|or|our|pas|plaît|please|que|"
    "said|she|should|sorry|string|tell|than|that|the|their|them|then|there|they|this|to|us|very|vous|want|was|we|"
    "which|whose|will|with|would|you|your|à|è"
)
# A value must be the same tokens wherever it stands, or it could not be copied: no space before a word, a capital or a
# sign that values begin with, digits and characters of other scripts one by one, and a quotation mark with the JSON
# marks around it but with nothing of the text that it encloses.
_PATTERN = (
    rf"'(?:s|t|re|ve|m|ll|d)(?!\p{{L}})| (?:{_JOINED})(?![\p{{L}}\p{{M}}_])"
    r"|[\p{Ll}\p{M}]+|[\p{Lu}\p{Lt}][\p{Ll}\p{M}]*|[\p{Lo}\p{Lm}\p{N}]"
    r"| ?[\[{]*\"[\]}:,]*[\r\n]*| ?[^\s\p{L}\p{N}\"+#@/.€$][^\s\p{L}\p{N}\"]*[\r\n]*|[^\s\p{L}\p{N}\"]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_logger = logging.getLogger(__name__)


@cache
def chat_template() -> str:
    """Return the Jinja chat template."""
    return (files(__package__) / "chat_template.jinja").read_text(encoding="utf-8")


def token_id(tokenizer: Tokenizer, text: str) -> int:
    """Return the id of a token that must exist."""
    token = tokenizer.token_to_id(text)
    assert token is not None, f"{text} is not in the vocabulary"
    return int(token)


def render(conversation: Conversation, add_generation_prompt: bool = False, template: str | None = None) -> str:
    """Return the conversation as the text that the model reads.

    Args:
        conversation: What to render.
        add_generation_prompt: Begin the answer.
        template: The Jinja template of a model; the scripts' own if left out.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered: Any = render_jinja_template(
        [list(conversation.messages)],
        tools=[dict(tool) for tool in conversation.tools] or None,
        chat_template=template or chat_template(),
        add_generation_prompt=add_generation_prompt,
        enable_thinking=conversation.thinking,
    )
    return str(rendered[0][0])


class _LetterSource(Source):
    """A source whose names and made-up words are random letters, so that no merge is spent on them."""

    def name(self) -> str:
        """Return letters with a capital."""
        return self.made_up_word().capitalize()

    def any_word(self) -> str:
        """Return letters."""
        return self.made_up_word()

    def made_up_word(self) -> str:
        """Return letters."""
        return "".join(self.rng.choices(_LETTERS, k=self.rng.randint(2, 6)))


def _texts(seed: int, count: int) -> Iterator[str]:
    """Yield conversations of every skill, and characters of other scripts."""
    from vllm_local.starter.generator import converse

    source = _LetterSource(Random(seed), made_up=0.0, room=512)
    markers = re.compile("|".join(re.escape(text) for text in (*SPECIAL, *MARKERS)))
    for index in range(count):
        for conversation in (converse(source, drills=0.0), *(Conversation(translate(source)) for _ in range(4))):
            yield from markers.split(render(conversation))
        if index % 2 == 0:
            yield "\n".join(draw_value(source, kind).text for kind in FOREIGN_KINDS * 3)
    for activity in load_lexicon().activities:
        for forms in activity.forms.values():
            yield from itertools.repeat(f" {forms[0]}", count // 20)


def build_tokenizer(seed: int = 0, conversations: int = 20_000) -> Tokenizer:
    """Train the tokenizer on the generator's text; the same seed gives the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MERGED,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed, conversations), trainer)
    return completed(tokenizer)


def completed(tokenizer: Tokenizer) -> Tokenizer:
    """Return a BPE tokenizer with what no text teaches it: the merges of whole words, and the template's marks."""
    description: dict[str, Any] = json.loads(tokenizer.to_str())
    vocabulary, merges = description["model"]["vocab"], description["model"]["merges"]
    for word in WHOLE_WORDS:
        whole, *others = tokenizer.encode(word).tokens
        for piece in others:
            if whole + piece not in vocabulary:
                merges.append([whole, piece])
                vocabulary[whole + piece] = len(vocabulary)
            whole += piece
    result = Tokenizer.from_str(json.dumps(description))
    result.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    result.add_tokens([AddedToken(text, special=False, normalized=False) for text in MARKERS])
    return result


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": chat_template(),
        "eos_token": END,
        "pad_token": PAD,
        "additional_special_tokens": ["<|im_start|>"],
        "add_bos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": MAX_LENGTH,
    }
    text = json.dumps(settings, ensure_ascii=False, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Build the tokenizer and write it to a folder."""
    parser = argparse.ArgumentParser(description="Build the starter model's tokenizer.")
    parser.add_argument("--output", type=Path, required=True, help="folder for tokenizer.json")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    tokenizer = build_tokenizer(arguments.seed)
    save_tokenizer(tokenizer, arguments.output)
    _logger.info("%d tokens written to %s", tokenizer.get_vocab_size(), arguments.output)


if __name__ == "__main__":
    main()
