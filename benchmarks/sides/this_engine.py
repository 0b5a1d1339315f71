"""This engine, asked as its users ask it, so that all it does around a step counts; and the same with parts timed."""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ceilings import ceilings_library

from sides.side import random_prompt
from vllm_local import LLM, SamplingParams
from vllm_local.kernels.cpu.library import Function, NativeLibrary
from vllm_local.llm_engine import LLMEngine
from vllm_local.outputs import RequestOutput
from vllm_local.sampling.sampler import Sampler

MAX_BATCH = 32
CACHE_TOKENS = 24_000
"""Contexts stay in the KV cache from round to round, beside the prompts of prefills."""
GREEDY = {"temperature": 0.0}
SAMPLED = {"top_p": 0.95, "logprobs": 5}

Noted = TypeVar("Noted")


class ThisEngine:
    """A loaded `LLM` whose steps are timed."""

    def __init__(self, folder: Path, num_threads: int) -> None:
        """Loads the model."""
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder)
        head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        token_bytes = 4 * config.num_hidden_layers * config.num_key_value_heads * head_size
        self._llm = LLM(
            model=str(folder),
            max_model_len=1024,
            max_num_seqs=MAX_BATCH,
            kv_cache_memory_bytes=CACHE_TOKENS * token_bytes,
            num_threads=num_threads,
            use_tqdm_on_load=False,
        )

    def prefill(self, num_tokens: int) -> float:
        """See `Side`."""
        prompt = random_prompt(num_tokens)
        began = time.perf_counter()
        self._generate([prompt], 1, GREEDY)
        return time.perf_counter() - began

    def prepare(self, batch: int, context: int) -> None:
        """Leaves the contexts in the prefix cache, each of its own tokens."""
        self._generate(_contexts(batch, context), 1, GREEDY)

    def decode(self, batch: int, context: int, steps: int) -> float:
        """Returns the seconds from one step's start to the next's; everything between them counts."""
        return self._decode(batch, context, steps, GREEDY)

    def sampling(self, batch: int, context: int, steps: int, temperature: float) -> tuple[float, float]:
        """Returns a step's seconds in the sampler, and all of a step's, with top-p and log-probabilities."""
        spent: list[float] = []
        with _replaced(Sampler, "sample", lambda call: _timed(call, spent)):
            step = self._decode(batch, context, steps, {**SAMPLED, "temperature": temperature})
        return sum(spent[-steps:]) / steps, step

    def logprobs(self, prompt: list[int]) -> dict[int, float]:
        """See `Side`."""
        (output,) = self._generate([prompt], 1, {"temperature": 0.0, "logprobs": 20})
        (described,) = output.outputs[0].logprobs or ()
        return {token_id: item.logprob for token_id, item in described.items()}

    def _decode(self, batch: int, context: int, steps: int, params: dict[str, Any]) -> float:
        first, last = self._noted(batch, context, steps, params, time.perf_counter)
        return (last - first) / steps

    def _noted(
        self, batch: int, context: int, steps: int, params: dict[str, Any], look: Callable[[], Noted]
    ) -> tuple[Noted, Noted]:
        """Decodes so many steps; returns what a look finds when they begin and when they end."""
        notes: list[Noted] = []
        with _replaced(LLMEngine, "step", lambda call: _after(lambda: notes.append(look()), call)):
            # The first step computes what the prefix cache lacks; one more after the last counted one ends it.
            self._generate(_contexts(batch, context), steps + 2, params)
        assert len(notes) == steps + 2, "the contexts were not in the prefix cache, or a request had to wait"
        return notes[1], notes[-1]

    def _generate(self, prompts: list[list[int]], max_tokens: int, params: dict[str, Any]) -> list[RequestOutput]:
        sampling = SamplingParams(max_tokens=max_tokens, ignore_eos=True, **params)
        return self._llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], sampling, use_tqdm=False)


@dataclass(slots=True)
class NativeCalls:
    """Calls of the native library: how many, and their seconds."""

    count: int = 0
    seconds: float = 0.0

    def timed(self, function: Callable[[object], None]) -> Function:
        """Returns a function that counts here."""

        def call(arguments: object) -> None:
            began = time.perf_counter()
            function(arguments)
            self.seconds += time.perf_counter() - began
            self.count += 1

        return call


class TimedEngine(ThisEngine):
    """The same engine with a clock around every call of the native library, which slows it a little."""

    def __init__(self, folder: Path, num_threads: int) -> None:
        """Loads the model, with a clock in place of each of the library's functions."""
        self._calls = NativeCalls()
        with self._timed_functions():
            super().__init__(folder, num_threads)

    def overhead(self, batch: int, context: int, steps: int) -> tuple[float, float]:
        """Returns a step's seconds outside of native functions, and all of a step's, both without the clocks."""
        native_calls = self._calls

        def look() -> tuple[float, float, int]:
            return time.perf_counter(), native_calls.seconds, native_calls.count

        # The sampler looks up its function for each batch.
        with self._timed_functions():
            first, last = self._noted(batch, context, steps, GREEDY, look)
        step, native, calls = ((after - before) / steps for before, after in zip(first, last, strict=True))
        clocks, passing = _cost_of_a_clock()
        return step - native - calls * (clocks - passing), step - calls * clocks

    def _timed_functions(self) -> contextlib.AbstractContextManager[None]:
        return _replaced(NativeLibrary, "function", lambda call: lambda *names: self._calls.timed(call(*names)))


def _cost_of_a_clock(repetitions: int = 20_000) -> tuple[float, float]:
    """Returns the seconds that a clock adds to a call, and those of an empty native call that it counts as native."""
    calls = NativeCalls()
    argument = ctypes.c_int64()
    plain, timed = ceilings_library().nothing, calls.timed(ceilings_library().nothing)

    def seconds(function: Function) -> float:
        began = time.perf_counter()
        for _ in range(repetitions):
            function(ctypes.byref(argument))
        return (time.perf_counter() - began) / repetitions

    unclocked, clocked = seconds(plain), seconds(timed)
    return clocked - unclocked, calls.seconds / calls.count


def _contexts(batch: int, context: int) -> list[list[int]]:
    return [random_prompt(context, seed=number) for number in range(batch)]


def _after(note: Callable[[], None], call: Callable[..., Any]) -> Callable[..., Any]:
    """Returns what takes a note and then calls."""

    def noted(*arguments: Any) -> Any:
        note()
        return call(*arguments)

    return noted


def _timed(call: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """Returns what calls and adds the seconds that it took to a list."""

    def timed(*arguments: Any) -> Any:
        began = time.perf_counter()
        result = call(*arguments)
        spent.append(time.perf_counter() - began)
        return result

    return timed


@contextlib.contextmanager
def _replaced(owner: type, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Puts another method in a class's place meanwhile, made from the one that is there."""
    call = getattr(owner, name)
    setattr(owner, name, wrap(call))
    try:
        yield
    finally:
        setattr(owner, name, call)
