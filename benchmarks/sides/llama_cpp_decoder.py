"""llama.cpp, through the batch interface of llama-cpp-python.

A step is one `llama_decode`; what its sampler would take is left out, in its favour. KV is kept in float16, and every
sequence has its own part of the cache (llama.cpp's default), so that none is masked out of another's attention.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterable
from pathlib import Path

import llama_cpp
import numpy as np
from gguf_file import gguf_file

from sides.side import random_prompt

UBATCH = 512
ROOM = 256
"""Tokens beyond the context that a sequence may grow by."""


class LlamaCppDecoder:
    """A model of llama.cpp's, and a context for each kind of work."""

    def __init__(self, folder: Path, num_threads: int) -> None:
        """Loads the model's GGUF file, which is written first where it is missing."""
        self._log = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._log, ctypes.c_void_p())
        llama_cpp.llama_backend_init()
        path = str(gguf_file(folder)).encode()
        self._model = llama_cpp.llama_model_load_from_file(path, llama_cpp.llama_model_default_params())
        assert self._model, f"llama.cpp cannot load {path.decode()}"
        self._num_threads = num_threads
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._contexts: dict[tuple[int, int], int] = {}
        self._batch = llama_cpp.llama_batch_init(UBATCH, 0, 1)

    def prefill(self, num_tokens: int) -> float:
        """See `Side`."""
        context = self._context(1, num_tokens)
        began = time.perf_counter()
        self._prefill(context, random_prompt(num_tokens))
        return time.perf_counter() - began

    def prepare(self, batch: int, context: int) -> None:
        """Computes one context, and copies its K and V for the others."""
        handle = self._context(batch, context)
        self._prefill(handle, random_prompt(context, seed=0))
        memory = llama_cpp.llama_get_memory(handle)
        for sequence in range(1, batch):
            llama_cpp.llama_memory_seq_cp(memory, 0, sequence, -1, -1)

    def decode(self, batch: int, context: int, steps: int) -> float:
        """See `Side`."""
        handle = self._context(batch, context)
        memory = llama_cpp.llama_get_memory(handle)
        for sequence in range(batch):
            assert llama_cpp.llama_memory_seq_pos_max(memory, sequence) >= context - 1, "not prepared"
            llama_cpp.llama_memory_seq_rm(memory, sequence, context, -1)
        began = time.perf_counter()
        for step in range(steps):
            self._decode(handle, ((1000 + step, context + step, sequence) for sequence in range(batch)))
        return (time.perf_counter() - began) / steps

    def logprobs(self, prompt: list[int]) -> dict[int, float]:
        """See `Side`; of all tokens."""
        context = self._context(1, len(prompt))
        self._prefill(context, prompt)
        address = llama_cpp.llama_get_logits_ith(context, -1)
        logits = np.ctypeslib.as_array(address, shape=(self._vocab_size,)).astype(np.float64)
        logits -= logits.max()
        return dict(enumerate((logits - np.log(np.exp(logits).sum())).tolist()))

    def _context(self, batch: int, context: int) -> int:
        key = (batch, context)
        if key not in self._contexts:
            params = llama_cpp.llama_context_default_params()
            params.n_ctx, params.n_seq_max = batch * (context + ROOM), batch
            params.n_batch = params.n_ubatch = UBATCH
            params.n_threads = params.n_threads_batch = self._num_threads
            self._contexts[key] = llama_cpp.llama_init_from_model(self._model, params)
            assert self._contexts[key], "llama.cpp cannot make a context"
        return self._contexts[key]

    def _prefill(self, context: int, prompt: list[int]) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), False)
        last = len(prompt) - 1
        for start in range(0, len(prompt), UBATCH):
            part = range(start, min(start + UBATCH, len(prompt)))
            self._decode(context, ((prompt[at], at, 0) for at in part), described=last)

    def _decode(self, context: int, tokens: Iterable[tuple[int, int, int]], described: int | None = None) -> None:
        """Computes tokens, given with their positions and sequences; logits of one position, or of all."""
        batch = self._batch
        count = 0
        for token_id, position, sequence in tokens:
            batch.token[count], batch.pos[count] = token_id, position
            batch.n_seq_id[count], batch.seq_id[count][0] = 1, sequence
            batch.logits[count] = described is None or position == described
            count += 1
        batch.n_tokens = count
        assert llama_cpp.llama_decode(context, batch) == 0, "llama_decode failed"
        llama_cpp.llama_synchronize(context)
