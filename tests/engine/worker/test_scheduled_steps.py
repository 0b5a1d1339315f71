"""The scheduler, the runner and the real decoder together, against transformers' own generation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.worker.conftest import VOCAB_SIZE
from vllm_local.config import EngineConfig, KVCacheConfig, resolve
from vllm_local.core.scheduler import Scheduler
from vllm_local.models.loader import load_model, read_model_config
from vllm_local.outputs import TokenLogprobs
from vllm_local.request import Request
from vllm_local.sampling.sampler import Sampler
from vllm_local.sampling_params import SamplingParams
from vllm_local.worker.model_runner import ModelRunner

LENGTH = 24


@pytest.fixture(scope="module")
def decoder_config(llama_path):
    return read_model_config(llama_path, EngineConfig(), "cpu")


@pytest.fixture(scope="module")
def decoder(llama_path, decoder_config):
    return load_model(llama_path, decoder_config, device="cpu", progress=False)


@pytest.fixture
def serve(decoder, decoder_config):
    """Runs requests to their end, `late` ones joining after some steps; returns the answers and the scheduler."""

    def run(requests, *, num_blocks=64, block_size=4, budget=64, max_num_seqs=8, late=()):
        info = decoder_config.info
        engine = EngineConfig(max_num_seqs=max_num_seqs, max_num_batched_tokens=budget, block_size=block_size)
        config = resolve(engine, info, device="cpu", available_memory=2**28)
        cache = KVCacheConfig(num_blocks=num_blocks, block_size=block_size, groups=info.kv_cache_groups)
        config = type(config)(**{**vars(config), "kv_cache": cache})
        runner = ModelRunner(config, decoder, Sampler())
        scheduler = Scheduler(
            kv_cache=cache,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=budget,
            max_model_len=config.max_model_len,
            vocab_size=VOCAB_SIZE,
        )
        for request in requests:
            scheduler.add_request(request)
        for _ in range(5 if late else 0):
            advance(scheduler, runner)
        for request in late:
            scheduler.add_request(request)
        while scheduler.has_unfinished_requests():
            advance(scheduler, runner)
        advance(scheduler, runner)
        scheduler.check_integrity()
        assert runner.known_request_ids == ()
        return [request.output_token_ids for request in (*requests, *late)], scheduler

    return run


def advance(scheduler, runner):
    scheduled = scheduler.schedule()
    scheduler.update_from_output(scheduled, runner.execute(scheduled))


def random_prompts(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(VOCAB_SIZE, (length,), generator=generator).tolist() for length in lengths]


def make_requests(prompts, start=0, eos=(), **params):
    sampling = SamplingParams(**{"temperature": 0, "max_tokens": LENGTH, **params})
    return [
        Request(f"r{number}", list(prompt), sampling, frozenset(eos), seed=number, arrival_time=float(number))
        for number, prompt in enumerate(prompts, start)
    ]


@pytest.fixture(scope="module")
def greedy(llama):
    """What transformers generates; the tests' prompts were chosen so that it never hesitates between two tokens."""

    def generate(prompts):
        answers = []
        for prompt in prompts:
            with torch.inference_mode():
                found = llama.generate(
                    torch.tensor([prompt]),
                    attention_mask=torch.ones(1, len(prompt)),
                    do_sample=False,
                    max_new_tokens=LENGTH,
                    output_logits=True,
                    return_dict_in_generate=True,
                    pad_token_id=0,
                )
            best_two = torch.stack(found.logits).topk(2).values
            assert (best_two[..., 0] - best_two[..., 1]).min() > 1e-3
            answers.append(found.sequences[0, len(prompt) :].tolist())
        return answers

    return generate


PROMPTS = random_prompts([1, 3, 17, 40, 9, 33])


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"budget": 8},
        {"budget": 7, "max_num_seqs": 3},
        {"num_blocks": 24, "budget": 16},
        {"block_size": 16, "num_blocks": 64},
        {"block_size": 1, "num_blocks": 80},
    ],
    ids=["plain", "chunked", "few seats", "tiny KV cache", "large blocks", "blocks of one token"],
)
def test_greedy_answers_are_those_of_transformers(serve, greedy, sizes):
    answers, scheduler = serve(make_requests(PROMPTS), **sizes)
    assert answers == greedy(PROMPTS)
    if sizes.get("num_blocks", 64) * sizes.get("block_size", 4) < 100:
        assert scheduler.num_preemptions_total > 0


@pytest.mark.parametrize("budget", [64, 8])
def test_answers_stay_right_on_cached_prefixes(serve, greedy, budget):
    (shared,) = random_prompts([30], seed=5)
    first = [[*shared, *tail] for tail in random_prompts([4, 1], seed=6)]
    late = [[*shared, *tail] for tail in random_prompts([2, 9], seed=7)]
    answers, scheduler = serve(make_requests(first), late=make_requests(late, start=2), budget=budget)
    assert scheduler.prefix_cache_hits > 0
    assert answers == greedy([*first, *late])


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 1.0},
        {"temperature": 1.3, "top_k": 40, "top_p": 0.9},
        {"temperature": 1.0, "repetition_penalty": 1.3, "frequency_penalty": 0.2, "min_p": 0.01},
    ],
    ids=["unfiltered", "filtered", "penalised"],
)
def test_random_answers_do_not_depend_on_how_they_were_batched(serve, params):
    alone = [serve([request])[0][0] for request in make_requests(PROMPTS, **params)]
    together, _ = serve(make_requests(PROMPTS, **params))
    chunked, _ = serve(make_requests(PROMPTS, **params), budget=8)
    preempted, scheduler = serve(make_requests(PROMPTS, **params), num_blocks=24, budget=16)
    assert together == chunked == preempted == alone
    assert scheduler.num_preemptions_total > 0
    assert len({tuple(answer) for answer in alone}) == len(alone)


def test_answers_end_at_their_end_token(serve, greedy):
    (expected,) = greedy(PROMPTS[2:3])
    (request,) = make_requests(PROMPTS[2:3], eos={expected[5]})
    answers, _ = serve([request])
    assert answers == [expected[: expected.index(expected[5]) + 1]]


def test_min_tokens_goes_on_past_an_end_token(serve, greedy):
    (expected,) = greedy(PROMPTS[2:3])
    (request,) = make_requests(PROMPTS[2:3], eos={expected[5]}, min_tokens=10)
    (answer,), _ = serve([request])
    assert len(answer) >= 10
    assert expected[5] not in answer[:10]
    assert answer[:5] == expected[:5]


def test_logprobs_are_those_of_the_reference(serve, llama):
    (request,) = make_requests(PROMPTS[3:4], max_tokens=1, logprobs=5)
    reference = llama(torch.tensor([request.prompt_token_ids])).logits[0, -1].log_softmax(-1)
    found: list[TokenLogprobs] = []
    original = Scheduler.update_from_output

    def record(self, scheduled, result):
        found.extend(entry for entries in result.logprobs.values() for entry in entries)
        return original(self, scheduled, result)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scheduler, "update_from_output", record)
        serve([request])
    (entry,) = found
    values, token_ids = reference.topk(5)
    assert entry.top_token_ids == tuple(token_ids.tolist())
    assert entry.top_logprobs == pytest.approx(values.tolist(), abs=1e-4)


def prompt_logprobs_of(serve, requests, **sizes):
    """Runs the requests; returns what each output said of its prompt, and the scheduler."""
    found: dict[str, list[TokenLogprobs]] = {}
    original = Scheduler.update_from_output

    def record(self, scheduled, result):
        outputs = original(self, scheduled, result)
        for output in outputs:
            if output.prompt_logprobs is not None:
                assert output.request_id not in found, "handed out twice"
                found[output.request_id] = output.prompt_logprobs
        return outputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scheduler, "update_from_output", record)
        _, scheduler = serve(requests, **sizes)
    return [found.get(request.request_id) for request in requests], scheduler


def check_prompt_logprobs(llama, prompt, entries, count):
    reference = llama(torch.tensor([prompt])).logits[0].log_softmax(-1).detach()
    assert [entry.token_id for entry in entries] == prompt[1:]
    for row, entry in zip(reference, entries, strict=False):
        values, token_ids = row.topk(count)
        assert entry.logprob == pytest.approx(float(row[entry.token_id]), abs=1e-4)
        assert entry.top_token_ids == tuple(token_ids.tolist())
        assert entry.top_logprobs == pytest.approx(values.tolist(), abs=1e-4)
        assert entry.rank == 1 + int((row > row[entry.token_id]).sum())


@pytest.mark.parametrize("sizes", [{}, {"budget": 7, "max_num_seqs": 3}, {"num_blocks": 24, "budget": 16}])
def test_prompt_logprobs_are_those_of_the_reference(serve, llama, sizes):
    prompts = [*PROMPTS, PROMPTS[3], PROMPTS[3][:20]]
    requests = make_requests(prompts, prompt_logprobs=2)
    for request in requests[1::3]:
        request.prompt_logprobs = None
    found, scheduler = prompt_logprobs_of(serve, requests, **sizes)
    for number, (prompt, entries) in enumerate(zip(prompts, found, strict=True)):
        if number % 3 == 1:
            assert entries is None
        else:
            check_prompt_logprobs(llama, prompt, entries, 2)
    if "num_blocks" in sizes:
        assert scheduler.num_preemptions_total > 0


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    budget=st.integers(4, 80),
    max_num_seqs=st.integers(1, 4),
    num_blocks=st.integers(17, 40),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
)
def test_prompt_logprobs_do_not_depend_on_how_they_were_batched(serve, budget, max_num_seqs, num_blocks, lengths):
    prompts = [PROMPTS[3][:length] for length in lengths]
    (alone,), _ = prompt_logprobs_of(serve, make_requests([PROMPTS[3]], prompt_logprobs=1, max_tokens=1))
    sizes = {"budget": budget, "max_num_seqs": max_num_seqs, "num_blocks": num_blocks}
    found, _ = prompt_logprobs_of(serve, make_requests(prompts, prompt_logprobs=1), **sizes)
    for length, entries in zip(lengths, found, strict=True):
        assert [entry.token_id for entry in entries] == [entry.token_id for entry in alone[: length - 1]]
        assert [entry.logprob for entry in entries] == pytest.approx(
            [entry.logprob for entry in alone[: length - 1]], abs=1e-4
        )
