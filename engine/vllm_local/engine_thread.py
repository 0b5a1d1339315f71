"""The two threads of a loaded model: one steps the engine, one turns its outputs into text."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Protocol, TypeAlias, TypeVar

from vllm_local.engine_stats import EngineStats
from vllm_local.errors import EngineClosedError, EngineDeadError, EngineError, InvalidRequestError
from vllm_local.input_processor import PreparedRequest
from vllm_local.llm_engine import LLMEngine
from vllm_local.output_collector import OutputCollector, wake
from vllm_local.output_processor import Delivery

T = TypeVar("T")

Command: TypeAlias = Callable[[LLMEngine], object]
"""What other threads ask of the engine thread."""

_ALIVE_CHECK_SECONDS = 1.0
_IDLE_SECONDS = 0.05


class EngineFactory(Protocol):
    """Makes an engine whose outputs go to a function that takes them to another thread."""

    def __call__(self, hand_over: Callable[[list[Delivery]], None], /) -> LLMEngine:
        """Makes it."""


class EngineThread:
    """Runs an engine until told to stop, or until it fails; every request then ends in an error.

    Whoever uses it may be collected while it runs, since it refers to nobody but the readers of running requests. All
    that other threads do is put something into a queue, which needs no lock of ours: so `stop` and `abort` may be
    called from a finalizer, in whatever thread and at whatever moment the collector runs.

    Between two steps the engine thread does what was asked for; while there is nothing to compute, it sleeps.
    """

    def __init__(self, make_engine: EngineFactory, name: str) -> None:
        """Makes the engine and starts both threads.

        Args:
            make_engine: Makes the engine.
            name: Of the threads, for debuggers.
        """
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._deliveries: queue.SimpleQueue[list[Delivery] | None] = queue.SimpleQueue()
        self._collectors: dict[str, OutputCollector] = {}
        self._end_cause: BaseException | None = None
        self._is_ended = False
        self._ends_silently = False
        self._last_stats = EngineStats()
        self._engine: LLMEngine | None = make_engine(self._deliveries.put)
        self._engine_thread = threading.Thread(target=self._run_engine, name=f"{name} engine", daemon=True)
        self._output_thread = threading.Thread(target=self._run_output, name=f"{name} output", daemon=True)
        self._output_thread.start()
        self._engine_thread.start()

    @property
    def is_ended(self) -> bool:
        """Whether nothing is computed any more."""
        return self._is_ended

    @property
    def is_alive(self) -> bool:
        """Whether one of the threads still runs."""
        return self._engine_thread.is_alive() or self._output_thread.is_alive()

    @property
    def num_unfinished(self) -> int:
        """Requests that have neither finished nor failed."""
        return len(self._collectors)

    def watch(self) -> None:
        """Notices threads that are gone, so that whoever waits for them hears of it."""
        if not self._is_ended and not self._engine_thread.is_alive():
            self._end(RuntimeError("the engine thread is gone"))
        if self._is_ended and not self._output_thread.is_alive():
            self._fail_all()

    def check(self) -> None:
        """Makes sure that the engine is there.

        Raises:
            EngineDeadError: It failed.
            EngineClosedError: It was shut down.
        """
        self.watch()
        if self._is_ended:
            raise self._end_error()

    def start_requests(self, prepared: list[PreparedRequest]) -> None:
        """Lets requests run, all from the same step on.

        Raises:
            EngineError: The engine has ended.
            InvalidRequestError: A request id is in use.
        """
        self.check()
        self._register([item.collector for item in prepared])
        self._commands.put(lambda engine: _add_requests(engine, prepared))
        if self._is_ended:  # it ended meanwhile, perhaps without a look at the newcomers
            for item in prepared:
                wake(item.collector.fail(self._end_error()))

    def abort(self, collector: OutputCollector) -> None:
        """Ends a request before the next step, with finish reason "abort"."""
        if not collector.is_ended:
            self._commands.put(lambda engine: engine.abort_request(collector))

    def abort_by_id(self, request_id: str) -> None:
        """Ends the unfinished request of that name, if there is one."""
        collector = self._collectors.get(request_id)
        if collector is not None:
            self.abort(collector)

    def call(self, function: Callable[[LLMEngine], T]) -> T:
        """Calls a function on the engine thread between two steps, and returns its result.

        Raises:
            EngineError: The engine has ended.
        """
        self.check()
        future: Future[T] = Future()
        self._commands.put(lambda engine: _settle(future, lambda: function(engine)))
        while True:
            try:
                return future.result(timeout=_ALIVE_CHECK_SECONDS)
            except FutureTimeoutError:
                if future.done():
                    raise
                self.check()

    def stats(self) -> EngineStats:
        """Returns a look at the engine, or the last one if it has ended."""
        engine = self._engine
        return self._last_stats if engine is None else engine.stats()

    def stop(self, *, silently: bool = False) -> None:
        """Tells both threads to end after the current step; returns at once.

        Args:
            silently: Wake no readers. At exit they can only be daemon threads, which would print their error.
        """
        self._ends_silently = silently
        self._commands.put(None)

    def join(self) -> None:
        """Waits until both threads have ended, unless it is one of them that calls."""
        for thread in (self._engine_thread, self._output_thread):
            if thread is not threading.current_thread():
                thread.join()

    def _register(self, collectors: list[OutputCollector]) -> None:
        for count, collector in enumerate(collectors):
            request_id = collector.request_id
            if self._collectors.setdefault(request_id, collector) is not collector:
                for earlier in collectors[:count]:
                    self._collectors.pop(earlier.request_id)
                message = f"Request id {request_id!r} is in use by an unfinished request; choose another."
                raise InvalidRequestError(message, parameter="request_id")
            collector.on_end = _Unregister(self._collectors, request_id)

    def _run_engine(self) -> None:
        engine = self._engine
        assert engine is not None, "the thread starts with an engine"
        cause: BaseException | None = None
        try:
            with engine.session():
                while self._do_commands(engine):
                    engine.step()
        except BaseException as error:  # noqa: BLE001 — whatever it is, every reader must hear of it
            cause = error
        self._last_stats = engine.stats()
        del engine
        self._end(cause)

    def _do_commands(self, engine: LLMEngine) -> bool:
        """Does what was asked for and sleeps while there is nothing to compute; False means stop."""
        while True:
            if not self._commands.empty():
                command = self._commands.get()
            elif engine.has_unfinished_requests():
                return True
            else:
                command = self._sleep(engine)
            if command is None:
                return False
            command(engine)

    def _sleep(self, engine: LLMEngine) -> Command | None:
        """Waits for something to do; checks the books unless that comes soon, so that it delays nobody."""
        try:
            return self._commands.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            engine.check_integrity()
            return self._commands.get()

    def _run_output(self) -> None:
        cause: BaseException | None = None
        engine = self._engine
        assert engine is not None, "the thread starts with an engine"
        processor = engine.output_processor
        del engine
        try:
            while (deliveries := self._deliveries.get()) is not None:
                processor.deliver(deliveries)
        except BaseException as error:  # noqa: BLE001 — see above
            cause = error
            self._end(cause)
            self.stop()
        if not self._ends_silently:
            self._fail_all()

    def _fail_all(self) -> None:
        for collector in list(self._collectors.values()):
            wake(collector.fail(self._end_error()))

    def _end(self, cause: BaseException | None) -> None:
        """Ends the engine once; what was computed before is still delivered."""
        if not self._is_ended:
            self._end_cause = cause
            self._is_ended = True
            if cause is not None:
                # The frames of the failed step refer to weights and KV cache.
                traceback.clear_frames(cause.__traceback__)
        self._engine = None
        self._deliveries.put(None)

    def _end_error(self) -> EngineError:
        """Returns a new error for each reader, as each raises it in a thread of its own."""
        cause = self._end_cause
        if cause is None:
            return EngineClosedError("The engine was closed; make a new one.")
        message = f"The engine stopped at an error of its own ({type(cause).__name__}: {cause}); make a new one."
        error = EngineDeadError(message)
        error.__cause__ = cause
        return error


class _Unregister:
    """Frees a request id; refers to the table alone, not to the threads."""

    def __init__(self, collectors: dict[str, OutputCollector], request_id: str) -> None:
        self._collectors = collectors
        self._request_id = request_id

    def __call__(self) -> None:
        self._collectors.pop(self._request_id, None)


def _add_requests(engine: LLMEngine, prepared: list[PreparedRequest]) -> None:
    for item in prepared:
        engine.add_request(item.requests, item.collector)


def _settle(future: Future[T], function: Callable[[], T]) -> None:
    try:
        future.set_result(function())
    except Exception as error:  # noqa: BLE001 — it is the caller's
        future.set_exception(error)
