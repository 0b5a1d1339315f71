"""Packing conversations into training rows."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from vllm_local.starter.generator import draw_conversation
from vllm_local.starter.tokenizer import END, PAD, render, token_id

_MIN_SPACE = 24
Row = tuple[list[int], list[int], list[int]]


@dataclass(frozen=True)
class Batch:
    """One training batch; ``B`` rows of ``T`` tokens.

    Attributes:
        tokens: [B, T] token ids.
        mask: [B, 1, T, T] True where a token may attend: causal, and inside one conversation.
        targets: [B, T] the next token, or -100 where there is nothing to learn.
        answers: [B, T] True where the target belongs to an assistant's answer.
    """

    tokens: Tensor
    mask: Tensor
    targets: Tensor
    answers: Tensor


class Corpus:
    """A seeded source of batches: a step's batch depends on the seed and the step alone.

    Args:
        tokenizer: The starter's tokenizer.
        seed: Seed of the data.
    """

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self._tokenizer = tokenizer
        self._seed = seed
        self._pad = token_id(tokenizer, PAD)
        self._end = token_id(tokenizer, END)
        self._turn = tokenizer.encode("<|im_start|>assistant\n").ids
        self._thought = tokenizer.encode("<think>\n").ids

    def batch(self, step: int, rows: int, length: int, drills: float) -> Batch:
        """Return the batch of one step."""
        rng = Random(f"{self._seed}/{step}")
        packed = [self._row(rng, length, drills) for _ in range(rows)]
        tokens, owners, answers = (torch.tensor(part) for part in zip(*packed, strict=True))
        same = owners[:, :, None] == owners[:, None, :]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        targets = torch.full_like(tokens, -100)
        inside = (owners[:, 1:] == owners[:, :-1]) & (tokens[:, 1:] != self._pad) & (answers[:, 1:] >= 0)
        targets[:, :-1] = torch.where(inside, tokens[:, 1:], -100)
        return Batch(tokens, (same & causal)[:, None], targets, torch.roll(answers, -1, 1) > 0)

    def _row(self, rng: Random, length: int, drills: float) -> Row:
        tokens: list[int] = []
        owners: list[int] = []
        answers: list[int] = []
        owner = 0
        while len(tokens) < length:
            ids = self._tokenizer.encode(render(draw_conversation(rng, drills, length))).ids
            if len(tokens) + len(ids) > length and tokens and length - len(tokens) < _MIN_SPACE:
                ids = [self._pad] * (length - len(tokens))
            tokens += ids
            owners += [owner] * len(ids)
            answers += self._answer_mask(ids)
            owner += 1
        return tokens[:length], owners[:length], answers[:length]

    def _answer_mask(self, ids: list[int]) -> list[int]:
        """Return 1 for an answer's tokens, 0 for others, and -1 for the "<think>" that the template writes."""
        mask, inside = [0] * len(ids), False
        for index, token in enumerate(ids):
            if mask[index] == 0:
                mask[index] = int(inside)
            if token == self._end:
                inside = False
            elif ids[index + 1 - len(self._turn) : index + 1] == self._turn:
                inside = True
                after = slice(index + 1, index + 1 + len(self._thought))
                if ids[after] == self._thought:
                    mask[after] = [-1] * len(self._thought)
        return mask
