import pytest

from tests.engine.engine_fakes import make_tokenizer
from vllm_local.errors import EngineError
from vllm_local.output_collector import OutputCollector
from vllm_local.output_processor import Delivery, OutputProcessor
from vllm_local.outputs import EngineCoreOutput, TokenLogprobs
from vllm_local.request import FinishReason, Request
from vllm_local.sampling_params import RequestOutputKind, SamplingParams

TEXT = "quick brown fox"


def text_of(output):
    return output.outputs[0].text


class FakeFinisher:
    def __init__(self):
        self.calls = []

    def finish(self, request_ids, reason, stop_reason=None):
        self.calls.append((list(request_ids), reason, stop_reason))
        return [EngineCoreOutput(request_id, [], finish_reason=reason) for request_id in request_ids]


class Rig:
    """A processor and one request with n answers."""

    def __init__(self, n=1, hand_over=None, **params):
        self.finisher = FakeFinisher()
        self.processor = OutputProcessor(make_tokenizer(), self.finisher, hand_over)
        sampling = SamplingParams(n=n, output_kind=RequestOutputKind.DELTA, **params)
        ids = [f"r.{index}" for index in range(n)]
        self.collector = OutputCollector(
            request_id="r", choice_ids=ids, prompt=None, prompt_token_ids=[5, 6], output_kind=sampling.output_kind
        )
        for index, request_id in enumerate(ids):
            request = Request(request_id, [5, 6], sampling, choice_index=index)
            self.processor.add_request(request, self.collector)

    def process(self, token_ids, index=0, **more):
        self.processor.process([EngineCoreOutput(f"r.{index}", list(token_ids), **more)])
        return self.collector.take()


@pytest.fixture
def tokens():
    return make_tokenizer().encode(TEXT, add_special_tokens=False)


def test_text_arrives_token_by_token(tokens):
    rig = Rig()
    pieces = [rig.process([token_id]).outputs[0].text for token_id in tokens[:-1]]
    last = rig.process(tokens[-1:], finish_reason=FinishReason.LENGTH)
    assert "".join(pieces) + last.outputs[0].text == TEXT
    assert last.finished
    assert last.outputs[0].finish_reason == "length"
    assert last.num_generated_tokens == len(tokens)
    assert rig.processor.counters.generation_tokens == len(tokens)
    assert rig.processor.counters.prompt_tokens == 2


@pytest.mark.parametrize(("include", "expected"), [(False, "quick"), (True, "quick fox")])
def test_the_token_that_ends_an_answer_has_no_text_unless_asked_for(include, expected):
    rig = Rig(include_stop_str_in_output=include)
    token_ids = make_tokenizer().encode("quick fox", add_special_tokens=False)
    first, rest = token_ids[:-1], token_ids[-1:]
    text = rig.process(first).outputs[0].text
    last = rig.process(rest, finish_reason=FinishReason.STOP, stop_reason=rest[0], has_end_token=True).outputs[0]
    ending = make_tokenizer().token_text(rest[0])
    assert text + last.text == (expected if include else expected + " fox".removesuffix(ending))
    assert last.token_ids == rest
    assert (last.finish_reason, last.stop_reason) == ("stop", rest[0])


def test_a_stop_string_ends_the_request_and_cuts_the_surplus(tokens):
    rig = Rig(stop=["own"], logprobs=0)
    logprobs = [TokenLogprobs(token_id, -1.0, 1) for token_id in tokens]
    output = rig.process(tokens, new_logprobs=logprobs)
    answer = output.outputs[0]
    assert (answer.text, answer.finish_reason, answer.stop_reason) == ("quick br", "stop", "own")
    assert len(answer.token_ids) == len(answer.logprobs) == output.num_generated_tokens < len(tokens)
    assert rig.finisher.calls == [(["r.0"], FinishReason.STOP, "own")]
    assert rig.processor.counters.generation_tokens == len(answer.token_ids)


def test_a_stop_string_in_the_last_tokens_wins_over_the_length(tokens):
    rig = Rig(stop=["fox"])
    answer = rig.process(tokens, finish_reason=FinishReason.LENGTH).outputs[0]
    assert (answer.text, answer.finish_reason, answer.stop_reason) == ("quick brown ", "stop", "fox")
    assert rig.finisher.calls == []


def test_what_a_stop_string_held_back_comes_with_the_end(tokens):
    rig = Rig(stop=["fox terrier"])
    first = rig.process(tokens).outputs[0].text
    last = rig.process([], finish_reason=FinishReason.ABORT).outputs[0]
    assert first == "quick brown "
    assert (last.text, last.finish_reason) == ("fox", "abort")


def test_outputs_after_the_end_are_dropped(tokens):
    rig = Rig(stop=["quick"])
    rig.process(tokens)
    rig.processor.process([EngineCoreOutput("r.0", [1]), EngineCoreOutput("unknown", [1])])
    assert rig.collector.num_generated_tokens < len(tokens)


def test_all_choices_share_a_collector(tokens):
    rig = Rig(n=2)
    assert rig.process(tokens, index=1, finish_reason=FinishReason.LENGTH).outputs[0].index == 1
    last = rig.process(tokens[:2], index=0, finish_reason=FinishReason.LENGTH)
    assert last.finished
    assert last.num_generated_tokens == len(tokens) + 2
    assert rig.processor.counters.prompt_tokens == 2


def test_logprobs_are_decoded_sampled_token_first(tokens):
    rig = Rig(logprobs=2)
    sampled, other, worst = tokens[0], tokens[1], tokens[2]
    logprobs = TokenLogprobs(sampled, -3.0, 7, (other, worst), (-0.5, -1.0))
    answer = rig.process([sampled], new_logprobs=[logprobs]).outputs[0]
    (position,) = answer.logprobs
    assert list(position) == [sampled, other, worst]
    assert [(item.logprob, item.rank) for item in position.values()] == [(-3.0, 7), (-0.5, 1), (-1.0, 2)]
    assert [item.decoded_token for item in position.values()] == list(map(make_tokenizer().token_text, tokens[:3]))
    assert answer.cumulative_logprob == -3.0


def test_an_error_of_the_runner_fails_the_whole_request(tokens):
    rig = Rig(n=3)
    rig.process(tokens[:1], index=2)
    with pytest.raises(EngineError, match="'r' cannot go on: its logits are no numbers"):
        rig.process([], finish_reason=FinishReason.ERROR, error="its logits are no numbers")
    assert rig.finisher.calls == [(["r.0", "r.1", "r.2"], FinishReason.ERROR, None)]
    rig.processor.process([EngineCoreOutput("r.1", [1])])
    assert rig.collector.num_generated_tokens == 1


def test_stop_strings_are_found_before_the_output_thread_gets_anything(tokens):
    handed: list[Delivery] = []
    rig = Rig(stop=["own"], hand_over=handed.extend)
    assert rig.process(tokens) is None
    assert rig.finisher.calls
    rig.processor.deliver(handed)
    assert text_of(rig.collector.take()) == "quick br"


def test_the_prompt_s_logprobs_are_decoded_and_come_once(tokens):
    rig = Rig(prompt_logprobs=1)
    described = TokenLogprobs(tokens[1], -2.0, 4, (tokens[2],), (-0.5,))
    output = rig.process(tokens[:1], prompt_logprobs=[described])
    first, second = output.prompt_logprobs
    assert first is None
    assert list(second) == tokens[1:3]
    assert [(item.logprob, item.rank) for item in second.values()] == [(-2.0, 4), (-0.5, 1)]
    assert second[tokens[1]].decoded_token == make_tokenizer().token_text(tokens[1])
    assert rig.process(tokens[1:2]).prompt_logprobs is None


def test_named_tokens_have_their_own_ranks(tokens):
    rig = Rig(logprob_token_ids=tokens[1:3])
    logprobs = TokenLogprobs(tokens[0], -3.0, 7, tuple(tokens[1:3]), (-9.0, -1.0), (40, 2))
    (position,) = rig.process([tokens[0]], new_logprobs=[logprobs]).outputs[0].logprobs
    assert [(item.logprob, item.rank) for item in position.values()] == [(-3.0, 7), (-9.0, 40), (-1.0, 2)]
