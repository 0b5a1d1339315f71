"""The sample tokenizers, loaded as a model's are."""

import pytest

from tests.engine.tokenizer import samples
from vllm_local.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tokenizers_by_kind(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    return {kind: Tokenizer.from_path(samples.save(make(), folder / kind)) for kind, make in samples.KINDS.items()}


@pytest.fixture(params=samples.KINDS)
def tokenizer(request, tokenizers_by_kind):
    return tokenizers_by_kind[request.param]
