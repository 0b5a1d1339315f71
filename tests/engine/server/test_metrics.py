import asyncio

import pytest

from tests.engine.server.rig import until
from vllm_local.server.metrics import token_buckets

LABELS = 'engine="0",model_name="vllm-local-starter"'
HISTOGRAMS = [
    "time_to_first_token_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
    "request_inference_time_seconds",
    "request_prefill_time_seconds",
    "request_decode_time_seconds",
    "request_prompt_tokens",
    "request_max_num_generation_tokens",
    "request_params_n",
    "request_params_max_tokens",
]


def sample(samples, name):
    return samples[f"vllm:{name}{{{LABELS}}}"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_counted_under_vllm_s_names(server, stream):
    num_prompt_tokens = (await server.chat(n=2, stop="lazy", max_tokens=7)).json()["usage"]["prompt_tokens"]
    await (server.chat_events if stream else server.chat)(max_tokens=8)
    samples = await server.metrics()
    for name in HISTOGRAMS:
        assert sample(samples, f"{name}_count") == 2, name
    assert sample(samples, "request_prompt_tokens_sum") == 2 * num_prompt_tokens
    assert sample(samples, "request_generation_tokens_count") == 3
    assert sample(samples, "request_generation_tokens_sum") == 22
    assert sample(samples, "request_max_num_generation_tokens_sum") == 15
    assert sample(samples, "request_params_n_sum") == 3
    assert sample(samples, "request_params_max_tokens_sum") == 15
    assert 0 < sample(samples, "inter_token_latency_seconds_count") <= 22 - 3  # first tokens may come with others
    assert sample(samples, "request_time_per_output_token_seconds_count") == 3
    assert sample(samples, "generation_tokens_total") == 22
    assert sample(samples, "prompt_tokens_total") == 2 * num_prompt_tokens
    assert sample(samples, "prefix_cache_queries_total") == 3 * num_prompt_tokens
    assert 0 < sample(samples, "prefix_cache_hits_total") < 3 * num_prompt_tokens
    assert sample(samples, "num_preemptions_total") == 0
    assert sample(samples, "num_requests_running") == sample(samples, "num_requests_waiting") == 0
    assert sample(samples, "kv_cache_usage_perc") == 0
    num_steps = sum(server.engine.stats().num_steps_by_tokens.values())
    assert sample(samples, "iteration_tokens_total_count") == num_steps
    assert sample(samples, "iteration_tokens_total_sum") >= 22
    reasons = {
        reason: samples[
            f'vllm:request_success_total{{engine="0",finished_reason="{reason}",model_name="vllm-local-starter"}}'
        ]
        for reason in ("stop", "length", "abort", "error")
    }
    assert reasons == {"stop": 0, "length": 3, "abort": 0, "error": 0}


async def test_times_agree_with_each_other(serve, runner):
    runner.step_seconds = 0.02
    server = await serve()
    await server.chat(max_tokens=6)
    samples = await server.metrics()
    seconds = {
        name: sample(samples, f"{name}_sum")
        for name in (
            *HISTOGRAMS[:6],
            "inter_token_latency_seconds",
            "request_time_per_output_token_seconds",
        )
    }
    assert 0.1 < seconds["request_decode_time_seconds"] < seconds["request_inference_time_seconds"]
    assert seconds["request_inference_time_seconds"] < seconds["e2e_request_latency_seconds"]
    assert 0.02 <= seconds["request_prefill_time_seconds"] <= seconds["time_to_first_token_seconds"]
    assert seconds["request_queue_time_seconds"] < 0.5
    assert seconds["inter_token_latency_seconds"] == pytest.approx(seconds["request_decode_time_seconds"])
    assert seconds["request_time_per_output_token_seconds"] == pytest.approx(seconds["request_decode_time_seconds"] / 5)


async def test_what_runs_and_what_waits_is_seen(serve, runner):
    runner.step_seconds = 0.01
    server = await serve(max_num_seqs=1)
    tasks = [asyncio.ensure_future(server.chat(max_tokens=60)) for _ in range(2)]
    await until(lambda: server.engine.stats().num_waiting and server.engine.stats().num_running)
    samples = await server.metrics()
    assert sample(samples, "num_requests_running") == sample(samples, "num_requests_waiting") == 1
    assert 0 < sample(samples, "kv_cache_usage_perc") < 1
    await asyncio.gather(*tasks)


async def test_the_setup_is_shown(server):
    text = (await server.client.get("/metrics")).text
    (line,) = [line for line in text.splitlines() if line.startswith("vllm:cache_config_info{")]
    assert 'block_size="4"' in line
    assert 'num_gpu_blocks="256"' in line
    assert line.endswith(" 1.0")


async def test_the_first_name_is_the_label(serve):
    server = await serve({"served_model_name": ("a", "b")})
    assert 'vllm:num_requests_running{engine="0",model_name="a"}' in await server.metrics()


async def test_a_refused_request_counts_nowhere(server):
    await server.chat(temperature=-1)
    await server.complete(prompt=[10**6])
    samples = await server.metrics()
    assert all(value == 0 for name, value in samples.items() if name.startswith("vllm:request_success_total"))


def test_buckets_grow_by_one_two_five():
    assert token_buckets(128) == (1, 2, 5, 10, 20, 50, 100)
    assert token_buckets(1000)[-1] == 1000
