"""Compilers over the starter model's tokens, and over small tokenizers of every kind."""

from pathlib import Path

import pytest

import vllm_local
from tests.engine.tokenizer import samples
from vllm_local.structured_output import GrammarCompiler
from vllm_local.structured_output.tokenizer_bridge import TokenizerBridge
from vllm_local.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return Tokenizer.from_path(Path(vllm_local.__file__).parent / "starter" / "model")


@pytest.fixture(scope="session")
def compiler(tokenizer):
    return GrammarCompiler(tokenizer, tokenizer.vocab_size)


@pytest.fixture(scope="session")
def bridge(tokenizer):
    return TokenizerBridge(tokenizer, tokenizer.vocab_size)


@pytest.fixture(scope="session")
def sample_tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    return {kind: Tokenizer.from_path(samples.save(make(), folder / kind)) for kind, make in samples.KINDS.items()}


@pytest.fixture(scope="session")
def sample_compilers(sample_tokenizers):
    # More rows than tokens, as embeddings have that are padded.
    return {kind: GrammarCompiler(item, item.vocab_size + 37) for kind, item in sample_tokenizers.items()}
