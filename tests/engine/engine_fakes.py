"""A model without weights behind the real engine: it answers by rule, as slowly as a test wants, or fails."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

from tests.engine.chat import templates
from tests.engine.tokenizer import samples
from vllm_local.async_llm import AsyncLLM
from vllm_local.chat.renderer import ChatRenderer
from vllm_local.config import EngineConfig, KVCacheConfig, KVCacheGroup, ModelInfo, ResolvedConfig
from vllm_local.engine_loading import LoadedModel
from vllm_local.outputs import TokenLogprobs
from vllm_local.sampling_defaults import SamplingDefaults
from vllm_local.step_io import ModelRunnerOutput
from vllm_local.tokenizer.tokenizer import Tokenizer

BLOCK_SIZE = 4
ANSWER = "The quick brown fox jumps over the lazy dog. "


@functools.cache
def make_tokenizer():
    with tempfile.TemporaryDirectory() as folder:
        path = samples.save(samples.byte_level_bpe(), Path(folder), chat_template=templates.CHATML)
        return Tokenizer.from_path(path)


def repeat_answer(tokens, num_prompt_tokens, choice_index):
    """Says ANSWER again and again; each choice begins one token later."""
    answer = make_tokenizer().encode(ANSWER, add_special_tokens=False)
    return answer[(len(tokens) - num_prompt_tokens + choice_index) % len(answer)]


class FakeModelRunner:
    """Computes nothing; the next token of a request is `rule(tokens, num_prompt_tokens, choice_index)`.

    A step takes `step_seconds` and waits for `gate`. It raises `failure` if that is set, and gives up the requests in
    `errors`.
    """

    def __init__(self, rule=repeat_answer, step_seconds=0.0):
        self.rule, self.step_seconds = rule, step_seconds
        self.gate = threading.Event()
        self.gate.set()
        self.failure: BaseException | None = None
        self.errors: dict[str, str] = {}
        self.num_steps = 0
        self.batch_sizes: list[int] = []
        self.rows: dict[str, list] = {}  # tokens, num_computed_tokens, new request data

    def session(self):
        return contextlib.nullcontext()

    def execute(self, scheduled):
        assert self.gate.wait(30), "a test forgot to open the gate"
        time.sleep(self.step_seconds)
        if scheduled.grammar_bitmask is not None:
            scheduled.grammar_bitmask.result()  # as every runner must, before the grammars go on
        if self.failure is not None:
            raise self.failure
        self.num_steps += 1
        self.batch_sizes.append(len(scheduled.num_scheduled_tokens))
        for request_id in (*scheduled.finished_request_ids, *scheduled.preempted_request_ids):
            self.rows.pop(request_id, None)
        for data in scheduled.scheduled_new_requests:
            self.rows[data.request_id] = [list(data.token_ids), data.num_computed_tokens, data]
        for request_id, new_token_ids, _, num_computed_tokens in scheduled.scheduled_cached_requests:
            row = self.rows[request_id]
            row[0] += new_token_ids
            row[1] = num_computed_tokens
        result = ModelRunnerOutput(errors={key: value for key, value in self.errors.items() if key in self.rows})
        for request_id, count in scheduled.num_scheduled_tokens.items():
            self._sample(request_id, count, result)
        return result

    def _sample(self, request_id, count, result):
        tokens, num_computed_tokens, data = self.rows[request_id]
        if data.prompt_logprobs_start is not None:
            start = max(num_computed_tokens, data.prompt_logprobs_start)
            following = tokens[start + 1 : min(num_computed_tokens + count + 1, data.num_prompt_tokens)]
            result.prompt_logprobs[request_id] = [
                self._describe(token_id, data.sampling_params.prompt_logprobs) for token_id in following
            ]
        if num_computed_tokens + count < len(tokens):
            result.sampled_token_ids[request_id] = []
            return
        token_id = self.rule(tokens, data.num_prompt_tokens, data.choice_index)
        result.sampled_token_ids[request_id] = [token_id]
        named = data.sampling_params.logprob_token_ids
        if named is not None:
            numbers = tuple(-0.25 * other for other in named)
            result.logprobs[request_id] = [TokenLogprobs(token_id, -0.5, 1, named, numbers, tuple(named))]
        elif data.sampling_params.logprobs is not None:
            result.logprobs[request_id] = [self._describe(token_id, data.sampling_params.logprobs)]

    @staticmethod
    def _describe(token_id, count):
        top = (token_id, *range(1, count))
        numbers = tuple(-0.5 * (rank + 1) for rank in range(len(top)))
        return TokenLogprobs(token_id, -0.5, 1, top, numbers)


def make_loaded(runner=None, *, num_blocks=256, max_model_len=128, max_num_seqs=8, defaults=None, **engine_args):
    """What loading a model would have made."""
    group = KVCacheGroup(layers=(0,), num_kv_heads=1, k_head_size=1, v_head_size=1, dtype="float32")
    tokenizer = make_tokenizer()
    info = ModelInfo(
        architecture="Fake",
        max_position_embeddings=max_model_len,
        vocab_size=tokenizer.vocab_size,
        dtype="float32",
        kv_cache_groups=(group,),
    )
    config = ResolvedConfig(
        engine=EngineConfig(max_num_seqs=max_num_seqs, **engine_args),
        model=info,
        device="cpu",
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=64,
        kv_cache=KVCacheConfig(num_blocks=num_blocks, block_size=BLOCK_SIZE, groups=(group,)),
    )
    return LoadedModel(
        config=config,
        path=Path("fake"),
        tokenizer=tokenizer,
        renderer=ChatRenderer(tokenizer),
        sampling_defaults=SamplingDefaults(defaults or {}, "the test"),
        model_runner=runner or FakeModelRunner(),
    )


def make_engine(runner=None, **kwargs):
    return AsyncLLM.from_loaded(make_loaded(runner, **kwargs))


def run_python(code):
    """Runs a script in a process of its own, which must end well."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr
    return result
