"""A tokenizer for templates; what it makes of text matters little here."""

import pytest

from tests.engine.tokenizer import samples
from vllm_local.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def make_tokenizer(tmp_path_factory):
    """Loads a sample tokenizer with a chat template, or with named ones."""

    def make(chat_template=None, kind="byte_level_bpe"):
        folder = tmp_path_factory.mktemp("tokenizer")
        config = {} if chat_template is None else {"chat_template": chat_template}
        return Tokenizer.from_path(samples.save(samples.KINDS[kind](), folder, **config))

    return make
