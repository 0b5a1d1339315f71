import pytest

from tests.engine.tokenizer import samples
from vllm_local.cli.bench.tokenizers import load_tokenizer
from vllm_local.errors import ModelNotFoundError


def test_a_folder_or_the_starter(tmp_path):
    path = samples.save(samples.byte_level_bpe(), tmp_path)
    assert load_tokenizer(str(path)).encode("the quick", add_special_tokens=False)
    assert (
        load_tokenizer("vllm-local-starter").decode(load_tokenizer("vllm-local-starter").encode("Hello!")) == "Hello!"
    )


def test_an_unknown_one_asks_for_a_name(tmp_path):
    with pytest.raises(ModelNotFoundError, match="--tokenizer"):
        load_tokenizer("no-such/tokenizer")
