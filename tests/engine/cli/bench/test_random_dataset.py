import pytest

from tests.engine.engine_fakes import make_tokenizer
from vllm_local.cli.bench.random_dataset import make_random
from vllm_local.errors import InvalidConfigError


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def count(tokenizer, text):
    return len(tokenizer.encode(text, add_special_tokens=False))


def test_random_prompts_have_the_length_that_they_say(tokenizer):
    samples = make_random(tokenizer, 8, input_len=32, output_len=5)
    assert [count(tokenizer, sample.prompt) for sample in samples] == [sample.prompt_len for sample in samples]
    assert all(28 <= sample.prompt_len <= 36 for sample in samples)
    assert [sample.output_len for sample in samples] == [5] * 8
    assert len({sample.prompt for sample in samples}) > 5  # so small a vocabulary repeats itself


def test_the_same_seed_gives_the_same_prompts(tokenizer):
    sizes: dict = {"input_len": 16, "output_len": 4, "range_ratio": 0.5}
    assert make_random(tokenizer, 4, seed=1, **sizes) == make_random(tokenizer, 4, seed=1, **sizes)
    assert make_random(tokenizer, 4, seed=1, **sizes) != make_random(tokenizer, 4, seed=2, **sizes)


def test_lengths_vary_within_their_range(tokenizer):
    samples = make_random(tokenizer, 64, input_len=20, output_len=10, range_ratio=0.5)
    lengths = {sample.output_len for sample in samples}
    assert lengths <= set(range(5, 16))
    assert len(lengths) > 5


def test_a_prefix_is_shared(tokenizer):
    samples = make_random(tokenizer, 4, input_len=8, output_len=1, prefix_len=24)
    common = len(samples[0].prompt)
    for sample in samples[1:]:
        same = [i for i, pair in enumerate(zip(samples[0].prompt, sample.prompt, strict=False)) if pair[0] != pair[1]]
        common = min(common, same[0] if same else common)
    assert count(tokenizer, samples[0].prompt[:common]) >= 20
    assert all(28 <= sample.prompt_len <= 36 for sample in samples)


@pytest.mark.parametrize("wrong", [{"range_ratio": 1.0}, {"range_ratio": -0.1}, {"input_len": 0}, {"output_len": 0}])
def test_impossible_lengths_are_refused(tokenizer, wrong):
    with pytest.raises(InvalidConfigError):
        make_random(tokenizer, 1, **{"input_len": 8, "output_len": 4, **wrong})
