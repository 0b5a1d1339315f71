import json
from typing import Any

import pytest

from vllm_local.config import EngineConfig
from vllm_local.errors import CorruptModelError, InvalidConfigError, InvalidRequestError
from vllm_local.sampling_defaults import read_sampling_defaults
from vllm_local.sampling_params import SamplingParams


@pytest.fixture
def defaults_of(tmp_path):
    def read(config=None, **engine_args):
        if config is not None:
            text = config if isinstance(config, str) else json.dumps(config)
            (tmp_path / "generation_config.json").write_text(text, encoding="utf-8")
        return read_sampling_defaults(tmp_path, EngineConfig(**engine_args))

    return read


def test_without_a_file_the_defaults_are_ours_and_the_room_that_is_left(defaults_of):
    assert defaults_of().make() == SamplingParams(max_tokens=None)


def test_the_model_s_defaults(defaults_of):
    config: dict[str, Any] = {
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 20,
        "repetition_penalty": 1.1,
        "do_sample": True,
    }
    config |= {"max_new_tokens": 99, "eos_token_id": 3, "min_p": None, "transformers_version": "5"}
    expected = SamplingParams(temperature=0.6, top_p=0.95, top_k=20, repetition_penalty=1.1, max_tokens=99)
    assert defaults_of(config).make() == expected


def test_no_sampling_means_greedy(defaults_of):
    assert defaults_of({"do_sample": False, "temperature": 0.7}).make().is_greedy


def test_the_caller_wins_but_none_is_no_word(defaults_of):
    params = defaults_of({"temperature": 0.6, "top_k": 20}).make(temperature=0.0, top_k=None, max_tokens=5)
    assert (params.temperature, params.top_k, params.max_tokens) == (0.0, 20, 5)


def test_the_engine_s_arguments(defaults_of, tmp_path):
    config = {"temperature": 0.6}
    assert defaults_of(config, generation_config="vllm").make().temperature == 1.0
    assert defaults_of(config, override_generation_config={"temperature": 0.1}).make().temperature == 0.1
    other = tmp_path / "other"
    other.mkdir()
    (other / "generation_config.json").write_text('{"top_k": 3}', encoding="utf-8")
    params = defaults_of(config, generation_config=str(other)).make()
    assert (params.temperature, params.top_k) == (1.0, 3)


def test_an_override_that_nothing_reads(defaults_of):
    with pytest.raises(InvalidConfigError, match="has 'temprature', but only repetition_penalty, temperature"):
        defaults_of(override_generation_config={"temprature": 0.1})


def test_a_folder_without_the_file(defaults_of, tmp_path):
    with pytest.raises(InvalidConfigError, match=r"a folder with generation_config\.json"):
        defaults_of(generation_config=str(tmp_path / "absent"))


def test_a_damaged_file(defaults_of):
    with pytest.raises(CorruptModelError, match=r"generation_config\.json"):
        defaults_of("{")


@pytest.mark.parametrize("config", [{"temperature": 9}, {"top_p": "high"}, {"max_new_tokens": 0}])
def test_values_out_of_bounds(defaults_of, config):
    with pytest.raises(InvalidConfigError, match=r"sampling defaults of .*generation_config\.json cannot be used"):
        defaults_of(config)


def test_a_name_that_does_not_exist(defaults_of):
    with pytest.raises(InvalidRequestError, match=r"'temprature'; did you mean temperature\?") as caught:
        defaults_of().make(temprature=0.5)
    assert caught.value.parameter == "temprature"
    with pytest.raises(InvalidRequestError, match="no sampling parameter 'xyzzy'"):
        defaults_of().make(xyzzy=1)
