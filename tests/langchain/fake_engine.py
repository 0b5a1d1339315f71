"""An engine without a model, behind AsyncLLM's public names: it counts, answers by script, and keeps a record."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import threading
from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace

from vllm_local.chat.answer_constraint import constrain_answer
from vllm_local.chat.chat_format import PreparedChat
from vllm_local.chat.reasoning_formats.think import Think
from vllm_local.chat.stream_router import StreamRouter
from vllm_local.chat.tool_formats.hermes import Hermes
from vllm_local.config import EngineConfig
from vllm_local.errors import (
    ContextLengthError,
    EngineClosedError,
    EngineDeadError,
    InvalidRequestError,
    UnsupportedInputError,
)
from vllm_local.outputs import CompletionOutput, Logprob, RequestOutput
from vllm_local.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

HERMES, THINK = Hermes(), Think()
REPLY = ["Io", " amo", " programmare", "."]


class FakeTokenizer:
    """One token a character, after one for the beginning."""

    def encode(self, text, add_special_tokens=True):
        return [1] * add_special_tokens + [ord(character) for character in text]


class FakeStream:
    """A request's outputs, for a thread or an event loop."""

    def __init__(self, engine, request_id, prompt, params):
        self.engine, self.request_id, self.prompt, self.params = engine, request_id, prompt, params
        self.reply = engine.reply
        self.num_generated_tokens = 0
        self.finished = False
        self.pieces = []
        self.outputs: deque = deque()
        # Not `with self.changed`: Ctrl-C inside its __enter__ would leave it locked.
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.waker = None

    def push(self, item):
        with self.lock:
            self.outputs.append(item)
            self.changed.notify_all()
            if self.waker is not None:
                with contextlib.suppress(RuntimeError):
                    self.waker[0].call_soon_threadsafe(self.waker[1].set)

    def abort(self):
        self.engine.finish(self, "abort")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.abort()

    def __iter__(self):
        return self

    def __next__(self):
        with self.lock:
            while not self.outputs:
                self.changed.wait()
            return self.taken(StopIteration)

    def __aiter__(self):
        return self

    async def __anext__(self):
        while True:
            with self.lock:
                if self.outputs:
                    return self.taken(StopAsyncIteration)
                event = asyncio.Event()
                self.waker = (asyncio.get_running_loop(), event)
            await event.wait()

    def taken(self, end):
        item = self.outputs[0]
        if item is None:
            raise end
        if isinstance(item, Exception):
            raise item
        return self.outputs.popleft()


class FakeChatFormat:
    """Hermes's calls and `<think>`, in prompts that show all they hold."""

    def __init__(self, engine):
        self.engine = engine

    def prepare(self, messages, tools, response=None, **kwargs):
        text = self.engine.text_of(messages, [tool.definition for tool in tools.tools], **kwargs)
        found = constrain_answer(tools, response, HERMES, THINK, "free")
        return PreparedChat(
            text=text,
            structured_outputs=None if found is None else StructuredOutputsParams(constraint=found.constraint),
            shows_special_tokens=False,
            reasoning_format=THINK,
            reasoning_state="free",
            make_router=functools.partial(StreamRouter, THINK, HERMES, tools, reasoning_state="free"),
        )


@dataclass
class Record:
    """What happened in the engine."""

    streams: list = field(default_factory=list)
    submitted: list = field(default_factory=list)
    rendered: list = field(default_factory=list)
    peak: int = 0
    num_aborted: int = 0


class FakeEngine:
    """One thread adds a token to every running request, then sleeps."""

    def __init__(self, config=None, *, reply=REPLY, step_seconds=0.0005, max_model_len=4096, gather=0):
        engine = config or EngineConfig()
        self.config = SimpleNamespace(engine=engine, max_model_len=max_model_len, max_num_seqs=engine.max_num_seqs)
        self.tokenizer = FakeTokenizer()
        self.chat_format = FakeChatFormat(self)
        self.reply = list(reply)
        self.step_seconds = step_seconds
        self.gather = gather  # the first step waits until so many requests run
        self.record = Record()
        self.lock = threading.RLock()
        self.waiting: deque = deque()
        self.running: list = []
        self.error = None
        self.work = threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    # ── AsyncLLM's names ──

    def render(self, messages, tools=None, **kwargs):
        return self.tokenizer.encode(self.text_of(messages, tools, **kwargs), add_special_tokens=False)

    def text_of(self, messages, tools, **kwargs):
        self.record.rendered.append((messages, tools or None, kwargs))
        if not messages:
            raise InvalidRequestError("Cannot apply chat template to an empty conversation.", parameter="messages")
        for index, message in enumerate(messages):
            if message["role"] not in ("system", "user", "assistant", "tool"):
                raise InvalidRequestError(f"messages[{index}] has the unknown role {message['role']!r}.")
            if any(part["type"] != "text" for part in message["content"] if isinstance(part, dict)):
                raise UnsupportedInputError(f"messages[{index}] holds an image; this is a text model.")
        text = "".join(f"<{message['role']}>{message['content']}" for message in messages)
        return text + str(tools or "") + "<assistant>"

    async def off_loop(self, function, *args):
        return function(*args)

    def default_sampling_params(self, **overrides):
        given = {name: value for name, value in overrides.items() if value is not None}
        return SamplingParams(**{"max_tokens": None, **given})

    def submit(self, prompt, params, *, request_id=None, priority=0, cache_salt=None):
        self.check_health()
        token_ids = prompt["prompt_token_ids"]
        if len(token_ids) >= self.config.max_model_len:
            raise ContextLengthError(len(token_ids), self.config.max_model_len)
        stream = FakeStream(self, request_id, token_ids, params)
        self.record.submitted.append(SimpleNamespace(params=params, priority=priority, cache_salt=cache_salt))
        self.record.streams.append(stream)
        with self.lock:
            self.waiting.append(stream)
        self.work.set()
        return stream

    def check_health(self):
        if self.error is not None:
            raise self.error

    def close(self):
        self.stop(EngineClosedError("The engine was shut down."))

    @property
    def is_closed(self):
        return self.error is not None

    # ── for tests ──

    def die(self):
        self.stop(EngineDeadError("The engine thread ended with an error."))

    def stop(self, error):
        with self.lock:
            self.error = self.error or error
            streams = [*self.waiting, *self.running]
            self.waiting.clear()
            self.running.clear()
        for stream in streams:
            stream.push(error)
        self.work.set()

    def loop(self):
        while self.error is None:
            self.work.wait()
            with self.lock:
                while self.waiting and len(self.running) < self.config.max_num_seqs:
                    self.running.append(self.waiting.popleft())
                self.record.peak = max(self.record.peak, len(self.running))
                running = list(self.running) if self.record.peak >= self.gather else []
                if not self.running:
                    self.work.clear()
            for stream in running:
                self.step(stream)
            threading.Event().wait(self.step_seconds)

    def step(self, stream):
        with self.lock:
            if stream.finished:
                return
            limit = min(stream.params.max_tokens or len(stream.reply), len(stream.reply))
            stream.pieces.append(stream.reply[stream.num_generated_tokens % len(stream.reply)])
            stream.num_generated_tokens += 1
            text = "".join(stream.pieces)
            stops = [text.index(stop) for stop in stream.params.stop_strings if stop in text]
            if stops:
                kept = text[: min(stops)]
                stream.pieces[-1] = kept[len("".join(stream.pieces[:-1])) :]
                self.finish(stream, "stop")
            elif stream.num_generated_tokens >= limit:
                self.finish(stream, "length" if limit < len(stream.reply) else "stop")
            elif stream.params.output_kind is RequestOutputKind.DELTA:
                stream.push(self.output(stream, stream.pieces[-1:], None))

    def finish(self, stream, reason):
        with self.lock:
            if stream.finished:
                return
            stream.finished = True
            if stream in self.running:
                self.running.remove(stream)
            if stream in self.waiting:
                self.waiting.remove(stream)
            self.record.num_aborted += reason == "abort"
        delta = stream.params.output_kind is RequestOutputKind.DELTA
        pieces = (stream.pieces[-1:] if reason != "abort" else []) if delta else stream.pieces
        stream.push(self.output(stream, pieces, reason))
        stream.push(None)

    def output(self, stream, pieces, reason):
        ids = list(range(len(pieces)))
        logprobs = None
        if (count := stream.params.logprobs) is not None:
            alternatives = {100 + i: Logprob(-1.0 - i, i + 2, f"alt{i}") for i in range(count)}
            logprobs = [{i: Logprob(-0.5, 1, piece)} | alternatives for i, piece in enumerate(pieces)]
        answers = [
            CompletionOutput(index, "".join(pieces), ids, None, logprobs, reason) for index in range(stream.params.n)
        ]
        return RequestOutput(
            stream.request_id,
            None,
            stream.prompt,
            answers,
            finished=reason is not None,
            num_cached_tokens=3,
            num_generated_tokens=stream.num_generated_tokens * stream.params.n,
        )


class Loader:
    """Stands in for `load_engine`: makes fake engines and remembers them."""

    def __init__(self):
        self.engines = []
        self.options = {}
        self.error = None
        self.calls = itertools.count()

    def __call__(self, config):
        next(self.calls)
        if self.error is not None:
            raise self.error
        self.engines.append(FakeEngine(config, **self.options))
        return self.engines[-1]

    @property
    def record(self):
        return self.engines[-1].record
