import random
import time

import pytest

from tests.engine.engine_fakes import ANSWER, BLOCK_SIZE, FakeModelRunner, make_loaded, make_tokenizer
from vllm_local.errors import ContextLengthError
from vllm_local.input_processor import InputProcessor
from vllm_local.output_collector import OutputCollector
from vllm_local.sampling_params import SamplingParams


class Rig:
    """An engine that delivers on its own thread, and short ways to use it."""

    def __init__(self, runner=None, **kwargs):
        loaded = make_loaded(runner, **kwargs)
        self.engine = loaded.make_engine()
        self.input_processor = InputProcessor(loaded.config, loaded.tokenizer)

    def add(self, prompt="Hello", **params):
        prepared = self.input_processor.prepare(prompt, SamplingParams(**params))
        self.engine.add_request(prepared.requests, prepared.collector)
        return prepared.collector

    def run(self):
        while self.engine.has_unfinished_requests():
            self.engine.step()
        self.engine.check_integrity()


def test_one_request():
    rig = Rig()
    collector = rig.add(max_tokens=5)
    rig.run()
    (answer,) = collector.take().outputs
    assert answer.token_ids == make_tokenizer().encode(ANSWER)[:5]
    assert (answer.text, answer.finish_reason) == (make_tokenizer().decode(answer.token_ids), "length")


def test_requests_are_computed_together():
    runner = FakeModelRunner()
    rig = Rig(runner)
    collectors = [rig.add(max_tokens=6) for _ in range(4)]
    rig.run()
    assert runner.batch_sizes == [4] * 6
    assert len({collector.take().outputs[0].text for collector in collectors}) == 1


def test_a_stop_string_costs_no_further_step():
    runner = FakeModelRunner()
    rig = Rig(runner)
    collector = rig.add(max_tokens=100, stop=["brown"])
    rig.run()
    output = collector.take()
    assert output.outputs[0].text == "The quick "
    assert output.outputs[0].stop_reason == "brown"
    assert runner.num_steps == output.num_generated_tokens == len(output.outputs[0].token_ids)
    assert "brown" in make_tokenizer().decode(output.outputs[0].token_ids)


def test_an_end_token_ends_an_answer():
    (eos,) = make_tokenizer().eos_token_ids
    rig = Rig(FakeModelRunner(lambda tokens, num_prompt_tokens, _: eos if len(tokens) > num_prompt_tokens + 2 else 40))
    ended, ignoring = rig.add(max_tokens=9), rig.add(max_tokens=9, ignore_eos=True)
    rig.run()
    answer = ended.take().outputs[0]
    assert answer.token_ids == [40, 40, 40, eos]
    assert (answer.text, answer.finish_reason, answer.stop_reason) == (make_tokenizer().decode([40] * 3), "stop", None)
    assert ignoring.take().outputs[0].token_ids == [40] * 3 + [eos] * 6


def test_a_request_that_the_scheduler_refuses_fails_alone():
    rig = Rig()
    rig.engine.scheduler.max_model_len = 8
    refused, served = rig.add([1] * 20, max_tokens=2, n=3), rig.add("Hi", max_tokens=2)
    rig.run()
    with pytest.raises(ContextLengthError):
        refused.take()
    assert served.take().finished


def test_abort_gives_what_there_is():
    rig = Rig()
    collector = rig.add(max_tokens=50, n=2)
    for _ in range(3):
        rig.engine.step()
    rig.engine.abort_request(collector)
    assert not rig.engine.has_unfinished_requests()
    output = collector.take()
    assert output.finished
    assert [answer.finish_reason for answer in output.outputs] == ["abort", "abort"]
    assert [len(answer.token_ids) for answer in output.outputs] == [3, 3]
    rig.engine.abort_request(collector)
    rig.run()
    assert rig.engine.stats().num_requests_aborted == 1


def test_prefixes_are_shared_by_choices_and_by_later_requests():
    rig = Rig()
    rig.add([1] * 41, max_tokens=2, n=3)
    rig.run()
    collector = rig.add([1] * 41, max_tokens=2)
    rig.run()
    assert collector.take().num_cached_tokens == 40
    stats = rig.engine.stats()
    assert stats.prefix_cache_queries == 4 * 41
    assert stats.prefix_cache_hits == 3 * 40
    assert stats.prompt_tokens_total == 2 * 41
    assert stats.generation_tokens_total == 8


def test_what_answers_share_with_each_other_was_not_in_the_cache():
    rig = Rig()
    collectors = [rig.add([1] * 41, n=3, max_tokens=2) for _ in range(2)]
    rig.run()
    first, second = (collector.take() for collector in collectors)
    assert first.num_cached_tokens == 0
    assert second.num_cached_tokens == len(second.prompt_token_ids) // BLOCK_SIZE * BLOCK_SIZE


def test_without_prefix_caching_only_choices_share():
    rig = Rig(enable_prefix_caching=False)
    rig.add([1] * 41, max_tokens=2, n=3)
    rig.add([1] * 41, max_tokens=2)
    rig.run()
    assert rig.engine.stats().prefix_cache_hits == 2 * 40


def test_soak_every_request_ends_once_and_no_block_leaks():
    """500 requests of all lengths, aborts and priorities over a KV cache that is far too small for them."""
    draw = random.Random(0)
    rig = Rig(num_blocks=24, max_model_len=80, scheduling_policy="priority", max_num_seqs=8)
    waiting = 500
    running: list[tuple[OutputCollector, SamplingParams]] = []
    ended: list[tuple[OutputCollector, SamplingParams]] = []
    while waiting or running:
        for _ in range(min(waiting, draw.choice([0, 0, 1, 3, 9]))):
            waiting -= 1
            prompt = [draw.randrange(20, 24) for _ in range(draw.randrange(1, 60))]
            n = draw.choice([1, 1, 1, 3])
            params = SamplingParams(
                n=n, max_tokens=draw.randrange(1, 40), stop=draw.choice([(), ("fox",)]), seed=draw.randrange(9)
            )
            prepared = rig.input_processor.prepare(prompt, params, priority=draw.randrange(3))
            rig.engine.add_request(prepared.requests, prepared.collector)
            running.append((prepared.collector, params))
        if running and draw.random() < 0.1:
            rig.engine.abort_request(draw.choice(running)[0])
        if rig.engine.has_unfinished_requests():
            rig.engine.step()
        ended += [item for item in running if item[0].is_ended]
        running = [item for item in running if not item[0].is_ended]
        if draw.random() < 0.02:
            rig.engine.check_integrity()
    rig.engine.check_integrity()
    stats = rig.engine.stats()
    assert (stats.num_running, stats.num_waiting, stats.kv_cache_usage) == (0, 0, 0.0)
    assert stats.num_preemptions > 20
    assert len(ended) == 500
    for collector, params in ended:
        output = collector.take()
        assert output is not None
        assert output.finished
        assert len(output.outputs) == params.n
        for answer in output.outputs:
            check_answer(answer, params)
    with pytest.raises(StopIteration):
        ended[0][0].take()


def check_answer(answer, params):
    words = make_tokenizer().encode(ANSWER)
    expected = [words[(position + answer.index) % len(words)] for position in range(len(answer.token_ids))]
    assert answer.token_ids == expected, "preemption and sharing change no answer"
    whole = make_tokenizer().decode(answer.token_ids)
    match answer.finish_reason:
        case "length":
            assert len(answer.token_ids) <= params.max_tokens
            assert answer.text == whole
        case "stop":
            assert params.stop
            assert answer.text == whole[: whole.index("fox")]
        case "abort":
            assert answer.text == whole
        case other:
            pytest.fail(f"finish reason {other}")


def test_steps_are_counted_by_their_tokens_and_requests_know_when_they_began():
    before = time.monotonic()
    rig = Rig()
    collector = rig.add([1] * 100, max_tokens=3)
    rig.run()
    assert rig.engine.stats().num_steps_by_tokens == {64: 1, 36: 1, 1: 2}  # the prompt in two chunks, two tokens more
    assert before <= collector.take().first_scheduled_time <= time.monotonic()
