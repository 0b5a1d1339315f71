"""transformers: one forward pass after the other with a dynamic cache, and the largest logit's token.

`generate` does the same and a little more around it. In bf16 where the machine multiplies that, else in float32: there
torch's products of bf16 are many times slower.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
import transformers
from ceilings import multiplies_bfloat16

from sides.side import random_prompt


class TransformersDecoder:
    """A model of transformers', and a cache for each kind of work."""

    def __init__(self, folder: Path, num_threads: int) -> None:
        """Loads the model."""
        torch.set_num_threads(num_threads)
        transformers.utils.logging.disable_progress_bar()
        dtype = torch.bfloat16 if multiplies_bfloat16() else torch.float32
        self._model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self._caches: dict[tuple[int, int], transformers.DynamicCache] = {}

    def prefill(self, num_tokens: int) -> float:
        """See `Side`."""
        prompt = random_prompt(num_tokens)
        began = time.perf_counter()
        self._forward(torch.tensor([prompt]), transformers.DynamicCache()).argmax(-1)
        return time.perf_counter() - began

    def prepare(self, batch: int, context: int) -> None:
        """Computes one context, and copies its K and V for the others."""
        cache = transformers.DynamicCache()
        self._forward(torch.tensor([random_prompt(context, seed=0)]), cache)
        cache.batch_repeat_interleave(batch)
        self._caches[batch, context] = cache

    def decode(self, batch: int, context: int, steps: int) -> float:
        """See `Side`."""
        cache = self._caches[batch, context]
        added = cache.get_seq_length() - context
        if added:
            cache.crop(-added)
        token_ids = torch.full((batch, 1), 1000)
        began = time.perf_counter()
        for _ in range(steps):
            token_ids = self._forward(token_ids, cache).argmax(-1)
        return (time.perf_counter() - began) / steps

    def logprobs(self, prompt: list[int]) -> dict[int, float]:
        """See `Side`; of all tokens."""
        logits = self._forward(torch.tensor([prompt]), transformers.DynamicCache())
        return dict(enumerate(logits[0, -1].double().log_softmax(-1).tolist()))

    @torch.inference_mode()
    def _forward(self, token_ids: torch.Tensor, cache: transformers.DynamicCache) -> torch.Tensor:
        """Returns the last token's logits [B, 1, V]."""
        output = self._model(token_ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return output.logits
