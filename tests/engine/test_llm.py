import json
import os
import signal
import sys
import threading
import time
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tests.engine.chat import templates
from tests.engine.engine_fakes import ANSWER, FakeModelRunner, make_loaded, make_tokenizer, run_python
from tests.engine.server.writers import Writer
from tests.engine.tokenizer import samples
from vllm_local import LLM, EngineConfig, SamplingParams
from vllm_local.errors import (
    ChatTemplateError,
    EngineClosedError,
    InvalidConfigError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
)
from vllm_local.sampling_params import StructuredOutputsParams

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def runner():
    return FakeModelRunner()


@pytest.fixture
def llm(runner):
    with LLM.from_loaded(make_loaded(runner)) as llm:
        yield llm


def texts_of(outputs):
    return [output.outputs[0].text for output in outputs]


class TestGenerate:
    def test_outputs_come_in_the_prompts_order(self, llm, runner):
        params = [SamplingParams(max_tokens=count) for count in (9, 1, 30, 4)]
        outputs = llm.generate(["a", {"prompt": "b"}, {"prompt_token_ids": [40]}, "d"], params, use_tqdm=False)
        assert [len(output.outputs[0].token_ids) for output in outputs] == [9, 1, 30, 4]
        assert [output.prompt for output in outputs] == ["a", "b", None, "d"]
        assert all(output.finished for output in outputs)
        assert texts_of(outputs)[2] == make_tokenizer().decode(make_tokenizer().encode(ANSWER * 2)[:30])
        assert max(runner.batch_sizes) == 4, "one batch"

    @pytest.mark.parametrize("prompt", ["Hi", {"prompt": "Hi"}, [40, 41], {"prompt_token_ids": [40, 41]}])
    def test_one_prompt_by_itself(self, llm, prompt):
        (output,) = llm.generate(prompt, SamplingParams(max_tokens=3), use_tqdm=False)
        assert len(output.outputs[0].token_ids) == 3

    def test_no_prompts(self, llm):
        assert llm.generate([]) == []

    def test_defaults_are_vllm_s(self, llm):
        assert llm.get_default_sampling_params().max_tokens == 16
        (output,) = llm.generate("Hi", use_tqdm=False)
        assert len(output.outputs[0].token_ids) == 16

    def test_defaults_are_the_model_s(self):
        with LLM.from_loaded(make_loaded(defaults={"max_tokens": 3, "temperature": 0.5})) as llm:
            assert llm.get_default_sampling_params() == SamplingParams(max_tokens=3, temperature=0.5)

    def test_several_answers(self, llm):
        (output,) = llm.generate("Hi", SamplingParams(n=3, max_tokens=2), use_tqdm=False)
        assert [answer.index for answer in output.outputs] == [0, 1, 2]
        assert len({answer.text for answer in output.outputs}) == 3

    @pytest.mark.parametrize(
        ("prompts", "params", "kwargs"),
        [
            (["fine", ""], None, {}),
            (["fine", [10**6]], None, {}),
            (["fine", 3], None, {}),
            (["fine", "fine"], [SamplingParams()], {}),
            (["fine"], {"max_tokens": 3}, {}),
            (["fine"], [{"max_tokens": 3}], {}),
            (["fine", "fine"], None, {"priority": [1]}),
            (["fine"], None, {"priority": 1}),
            (["fine"], 3, {}),
            (3, None, {}),
        ],
    )
    def test_nothing_runs_if_anything_is_wrong(self, llm, runner, prompts, params, kwargs):
        with pytest.raises(InvalidRequestError):
            llm.generate(prompts, params, use_tqdm=False, **kwargs)
        assert runner.num_steps == 0
        assert llm.engine.stats().num_running == llm.engine.stats().num_waiting == 0

    def test_priorities(self):
        with LLM.from_loaded(make_loaded(max_num_seqs=1, scheduling_policy="priority")) as llm:
            outputs = llm.generate(["a", "b"], SamplingParams(max_tokens=2), priority=[1, 0], use_tqdm=False)
        assert len(outputs) == 2

    def test_progress_goes_to_standard_error(self, llm, capsys):
        llm.generate(["a", "b"], SamplingParams(max_tokens=2))
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "2/2" in captured.err

    def test_threads_share_it(self, llm):
        results = []

        def ask(count):
            results.append(llm.generate(["Hi"] * 3, SamplingParams(max_tokens=count), use_tqdm=False))

        threads = [threading.Thread(target=ask, args=(count,)) for count in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(len(outputs[0].outputs[0].token_ids) for outputs in results) == list(range(1, 9))

    @pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
    def test_ctrl_c_aborts_the_batch(self):
        with LLM.from_loaded(make_loaded(FakeModelRunner(step_seconds=0.01))) as llm:
            timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                llm.generate(["Hi"] * 12, SamplingParams(max_tokens=100), use_tqdm=False)
            end = time.monotonic() + 10
            while llm.engine.stats().num_running + llm.engine.stats().num_waiting:
                assert time.monotonic() < end
                time.sleep(0.001)
            assert llm.engine.stats().num_requests_aborted == 12
            assert llm.generate("Hi", SamplingParams(max_tokens=1), use_tqdm=False)[0].finished

    def test_after_close(self, llm):
        llm.close()
        llm.close()
        with pytest.raises(EngineClosedError):
            llm.generate("Hi")


class TestChat:
    def test_one_conversation_or_many(self, llm):
        params = SamplingParams(max_tokens=4)
        (one,) = llm.chat(HI, params, use_tqdm=False)
        assert one.prompt == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        assert one.prompt_token_ids == llm.get_tokenizer().encode(one.prompt, add_special_tokens=False)
        assert texts_of(llm.chat([HI, HI, HI], params, use_tqdm=False)) == texts_of([one]) * 3

    def test_tools_are_told_of_and_their_calls_kept(self):
        tool = {"type": "function", "function": {"name": "now"}}
        wrong: Any = "now"
        call = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
        form = StructuredOutputsParams(choice=["noon", "nine"])
        with LLM.from_loaded(make_loaded(Writer(call), max_model_len=512)) as llm:
            for params in (SamplingParams(max_tokens=100), SamplingParams(max_tokens=100, structured_outputs=form)):
                (output,) = llm.chat(HI, params, tools=[tool], use_tqdm=False)
                assert "now<|im_end|>" in str(output.prompt)
                assert output.outputs[0].text == call
            with pytest.raises(InvalidRequestError, match="must be a list of tools"):
                llm.chat(HI, tools=wrong, use_tqdm=False)

    def test_arguments_reach_the_template(self, llm):
        messages = [*HI, {"role": "assistant", "content": "Hello"}]
        params = SamplingParams(max_tokens=1)

        def prompt(**kwargs):
            return llm.chat(messages, params, use_tqdm=False, **kwargs)[0].prompt

        assert prompt(add_generation_prompt=False).endswith("Hello<|im_end|>\n")
        assert prompt(add_generation_prompt=False, continue_final_message=True).endswith("Hello")
        assert prompt(chat_template="{{ messages | length }}") == "2"
        assert "<think>" in prompt(chat_template_kwargs={"enable_thinking": False})
        tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
        assert "add<|im_end|>" in prompt(tools=[tool])

    @pytest.mark.parametrize(
        ("messages", "error"),
        [
            ([], InvalidRequestError),
            ([HI, []], InvalidRequestError),
            ([{"role": "robot", "content": "x"}], InvalidRequestError),
            ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], InvalidRequestError),
        ],
    )
    def test_bad_conversations(self, llm, runner, messages, error):
        with pytest.raises(error):
            llm.chat(messages, use_tqdm=False)
        assert runner.num_steps == 0

    def test_a_template_that_refuses(self, llm):
        with pytest.raises(ChatTemplateError, match="no thanks"):
            llm.chat(HI, chat_template="{{ raise_exception('no thanks') }}")


@pytest.fixture(scope="module")
def llama_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    samples.save(samples.byte_level_bpe(), folder, chat_template=templates.CHATML)
    config = LlamaConfig(
        vocab_size=384,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        eos_token_id=2,
        bos_token_id=1,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(str(folder))
    generation = {"eos_token_id": 2, "temperature": 0.5, "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def llama(llama_folder):
    with LLM(model=str(llama_folder), dtype="float32", num_threads=1, kv_cache_memory_bytes=2**20) as llm:
        yield llm


class TestLoading:
    """With a real, if random, Llama that transformers saved."""

    def test_greedy_tokens_are_transformers_s(self, llama, llama_folder):
        theirs = AutoModelForCausalLM.from_pretrained(str(llama_folder), dtype=torch.float32)
        prompts = [[5, 6, 7], [40, 41], list(range(3, 60))]
        params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
        outputs = llama.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
        for ids, output in zip(prompts, outputs, strict=True):
            with torch.no_grad():
                logits = theirs(torch.tensor([ids + output.outputs[0].token_ids])).logits[0, len(ids) - 1 : -1]
            best = logits.max(dim=-1).values
            chosen = logits.gather(1, torch.tensor(output.outputs[0].token_ids)[:, None])[:, 0]
            assert (best - chosen).max() < 1e-3

    def test_everything_of_the_folder_is_used(self, llama):
        assert llama.get_default_sampling_params() == SamplingParams(temperature=0.5, max_tokens=16)
        assert llama.get_tokenizer().eos_token_ids == {1, 2}
        assert llama.engine.config.max_model_len == 128
        assert llama.chat(HI, SamplingParams(max_tokens=3), use_tqdm=False)[0].prompt.startswith("<|im_start|>user")

    def test_seeded_answers_do_not_depend_on_the_batch(self, llama):
        params = SamplingParams(temperature=1, seed=7, max_tokens=10, ignore_eos=True, n=2)
        (alone,) = llama.generate(["Hello"], params, use_tqdm=False)
        together = llama.generate(["Hello", "World", "Hello"], params, use_tqdm=False)
        ids = [answer.token_ids for answer in alone.outputs]
        assert [answer.token_ids for answer in together[0].outputs] == ids
        assert [answer.token_ids for answer in together[2].outputs] == ids
        assert ids[0] != ids[1]

    def test_logprobs(self, llama):
        params = SamplingParams(temperature=0, max_tokens=3, logprobs=2)
        answer = llama.generate("Hello", params, use_tqdm=False)[0].outputs[0]
        assert [next(iter(position)) for position in answer.logprobs] == answer.token_ids
        assert all(position[token].rank == 1 for position, token in zip(answer.logprobs, answer.token_ids, strict=True))
        total = sum(next(iter(position.values())).logprob for position in answer.logprobs)
        assert answer.cumulative_logprob == pytest.approx(total)

    def test_a_kv_cache_far_too_small_changes_no_answer(self, llama, llama_folder):
        params = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
        prompts = [[index + 3] * (5 + index) for index in range(8)]
        expected = llama.generate(prompts, params, use_tqdm=False)
        kv_cache = {"kv_cache_memory_bytes": 60 * 1024, "max_model_len": 64}
        with LLM(model=str(llama_folder), dtype="float32", num_threads=1, **kv_cache) as small:
            outputs = small.generate(prompts, params, use_tqdm=False)
            assert small.engine.stats().num_preemptions > 0
            small.engine.check_integrity()
        # Rounding may turn a tie; a wrong K or V would turn nearly everything.
        same = [
            one.outputs[0].token_ids == other.outputs[0].token_ids for one, other in zip(expected, outputs, strict=True)
        ]
        assert sum(same) >= 7

    def test_streams_join_to_the_whole(self, llama):
        params = llama.engine.default_sampling_params(seed=3, max_tokens=60, ignore_eos=True)
        *_, last = llama.engine.submit("Hello", params)
        assert last.outputs[0].text == llama.generate("Hello", params, use_tqdm=False)[0].outputs[0].text

    def test_engine_arguments(self, llama_folder):
        config = EngineConfig(model=str(llama_folder), max_model_len=32, num_threads=1, chat_template="{{ 1 }}", seed=5)
        with LLM(config) as llm:
            assert llm.engine.config.max_model_len == 32
            assert llm.chat(HI, SamplingParams(max_tokens=1), use_tqdm=False)[0].prompt == "1"
        with pytest.raises(InvalidConfigError, match="not both"):
            LLM(config, seed=3)
        with pytest.raises(InvalidConfigError, match="no engine argument 'max_tokens'"):
            LLM(str(llama_folder), max_tokens=3)

    def test_another_tokenizer(self, llama_folder, tmp_path):
        samples.save(samples.byte_level_bpe(), tmp_path, chat_template="other {{ 2 }}")
        with LLM(str(llama_folder), tokenizer=str(tmp_path), num_threads=1, kv_cache_memory_bytes=2**20) as llm:
            assert llm.engine.renderer.render(HI) == "other 2"
            assert 2 in llm.get_tokenizer().eos_token_ids

    def test_a_tokenizer_that_is_nowhere(self, llama_folder):
        with pytest.raises(ModelNotFoundError, match="'absent/tokenizer' is neither a folder"):
            LLM(str(llama_folder), tokenizer="absent/tokenizer", num_threads=1, kv_cache_memory_bytes=2**20)

    def test_a_model_that_is_nowhere(self, tmp_path):
        with pytest.raises(ModelLoadError):
            LLM(str(tmp_path / "absent"))


def test_a_process_may_end_while_a_dropped_engine_computes():
    code = """
        from vllm_local import LLM, SamplingParams

        def main():
            llm = LLM()
            params = SamplingParams(max_tokens=900, ignore_eos=True)
            streams = [llm.engine.submit({"prompt_token_ids": [5 + i] * 1000}, params) for i in range(8)]
            next(streams[0])

        main()
    """
    for _ in range(3):  # without a wait at exit, torch ended two processes in three by SIGABRT
        run_python(code)
