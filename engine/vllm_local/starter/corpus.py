"""Conversations as training batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from vllm_local.starter.generator import draw_conversation
from vllm_local.starter.tokenizer import END, PAD, render, token_id

_LONGEST = 2400
_ANSWER, _OTHER, _WRITTEN = 1, 0, -1


@dataclass(frozen=True)
class Mixture:
    """What a stretch of training is drawn from.

    Attributes:
        rooms: (tokens that a conversation may take, how often) pairs.
        drills: Share of copy drills.
    """

    rooms: tuple[tuple[int, float], ...]
    drills: float


@dataclass(frozen=True)
class Batch:
    """One training batch: ``B`` conversations of about one length, padded on the right to ``T`` tokens.

    Attributes:
        tokens: [B, T] token ids.
        targets: [B, T] the next token, or -100 where there is nothing to learn.
        answers: [B, T] True where the target belongs to an assistant's answer.
    """

    tokens: Tensor
    targets: Tensor
    answers: Tensor


@dataclass(frozen=True)
class Packed:
    """Several batches end to end, on the device that computes: ``N`` tokens, ``M`` of them with a loss.

    Attributes:
        tokens: [N] token ids.
        positions: [N] their places in their rows.
        shapes: (rows, tokens of a row) of each batch.
        starts: [rows + 1] where each row starts, and N.
        counted: [M] positions whose loss counts.
        targets: [M] the next token there.
        answers: [M] True where it belongs to an assistant's answer.
    """

    tokens: Tensor
    positions: Tensor
    shapes: list[tuple[int, int]]
    starts: Tensor
    counted: Tensor
    targets: Tensor
    answers: Tensor

    @staticmethod
    def of(batches: Sequence[Batch], counted: Sequence[Tensor], device: torch.device) -> Packed:
        """Pack batches with the positions that count in each, [B, T]."""
        shapes = [(batch.tokens.shape[0], batch.tokens.shape[1]) for batch in batches]
        lengths = torch.cat([torch.full((rows,), length) for rows, length in shapes])
        chosen = _flat(counted).nonzero().flatten()
        return Packed(
            tokens=_moved(_flat([batch.tokens for batch in batches]), device),
            positions=_moved(torch.cat([torch.arange(length).repeat(rows) for rows, length in shapes]), device),
            shapes=shapes,
            starts=_moved(torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int(), device),
            counted=_moved(chosen, device),
            targets=_moved(_flat([batch.targets for batch in batches])[chosen], device),
            answers=_moved(_flat([batch.answers for batch in batches])[chosen], device),
        )


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on the device; a GPU copies it while the processor goes on."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class Sample:
    """One conversation.

    Attributes:
        tokens: Its token ids.
        kinds: For each of them whether it is an answer's, another, or one that the template writes.
    """

    tokens: list[int]
    kinds: list[int]


class Corpus:
    """A seeded source of conversations, which come in blocks, and of the batches that are made of them.

    A block depends on the seed, the part, its number and the mixture alone. Its conversations are sorted by length, so
    that a batch has little padding and attention needs no mask but the causal one. Conversations of one length are of
    few skills, so a training step takes several batches.

    Args:
        tokenizer: The starter's tokenizer.
        seed: Seed of the data.
        batch_tokens: Tokens in a batch, padding included, at most, unless one conversation is longer.
        part: Which of several corpora of this seed this is.
    """

    def __init__(self, tokenizer: Tokenizer, seed: int, batch_tokens: int, part: int = 0) -> None:
        self._tokenizer = tokenizer
        self._seed = seed
        self._batch_tokens = batch_tokens
        self._part = part
        self._pad = token_id(tokenizer, PAD)
        self._end = token_id(tokenizer, END)
        self._turn = tokenizer.encode("<|im_start|>assistant\n").ids
        self._thought = tokenizer.encode("<think>\n").ids

    def samples(self, number: int, mixture: Mixture, tokens: int) -> list[Sample]:
        """Return a block's conversations of so many tokens together, or a few more; the longest come first."""
        rng = Random(f"{self._seed}/{self._part}/{number}")
        samples, missing = [], tokens
        while missing > 0:
            samples.append(self._sample(rng, mixture))
            missing -= len(samples[-1].tokens)
        return sorted(samples, key=lambda sample: len(sample.tokens), reverse=True)

    def batches(self, samples: Sequence[Sample]) -> list[Batch]:
        """Return conversations as batches, in the order given, in which their lengths must fall."""
        batches, start = [], 0
        while start < len(samples):
            rows = max(1, self._batch_tokens // _padded(len(samples[start].tokens)))
            batches.append(self._batch(samples[start : start + rows]))
            start += rows
        return batches

    def steps(self, number: int, samples: Sequence[Sample], steps: int, step_batches: int) -> list[list[Batch]]:
        """Return a block's batches of exactly so many steps, each of batches of different lengths.

        All parts take their batches in the same order of lengths, so that those who train together on one part each
        take about the same time for a step. What does not fit is left out, and some comes twice where there is too
        little.

        Args:
            number: The block's.
            samples: Its conversations; their lengths must fall.
            steps: How many steps.
            step_batches: Batches in a step.
        """
        batches, wanted = self.batches(samples), steps * step_batches
        order = Random(f"{self._seed}/{number}").sample(range(wanted), wanted)
        chosen = [batches[place * len(batches) // wanted] for place in order]
        return [chosen[start : start + step_batches] for start in range(0, wanted, step_batches)]

    def _sample(self, rng: Random, mixture: Mixture) -> Sample:
        rooms, weights = zip(*mixture.rooms, strict=True)
        conversation = draw_conversation(rng, mixture.drills, rng.choices(rooms, weights)[0])
        ids = self._tokenizer.encode(render(conversation)).ids[:_LONGEST]
        return Sample(ids, self._kinds(ids))

    def _batch(self, samples: Sequence[Sample]) -> Batch:
        length = _padded(max(len(sample.tokens) for sample in samples))
        tokens = torch.full((len(samples), length), self._pad)
        kinds = torch.full((len(samples), length + 1), _WRITTEN)
        for row, sample in enumerate(samples):
            tokens[row, : len(sample.tokens)] = torch.tensor(sample.tokens)
            kinds[row, : len(sample.tokens)] = torch.tensor(sample.kinds)
        following = torch.nn.functional.pad(tokens, (0, 1), value=self._pad)[:, 1:]
        targets = torch.where(kinds[:, 1:] == _WRITTEN, -100, following)
        return Batch(tokens, targets, kinds[:, 1:] == _ANSWER)

    def _kinds(self, ids: list[int]) -> list[int]:
        """Say for each token whether it is an answer's, another, or a "<think>" that the template writes."""
        kinds, inside = [_OTHER] * len(ids), False
        for index, token in enumerate(ids):
            if inside and kinds[index] == _OTHER:
                kinds[index] = _ANSWER
            if token == self._end:
                inside = False
            elif ids[max(0, index + 1 - len(self._turn)) : index + 1] == self._turn:
                inside = True
                after = slice(index + 1, index + 1 + len(self._thought))
                if ids[after] == self._thought:
                    kinds[after] = [_WRITTEN] * len(self._thought)
        return kinds


def _padded(length: int) -> int:
    """Return the length rounded up to a multiple of eight, which the processor prefers."""
    return -(-length // 8) * 8
