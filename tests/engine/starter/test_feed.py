import pytest
from tokenizers import Tokenizer

from vllm_local.starter import starter_path
from vllm_local.starter.corpus import Corpus, Mixture
from vllm_local.starter.feed import Feed

EARLY, LATE = Mixture(((256, 1),), drills=1.0), Mixture(((256, 1),), drills=0.0)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus(Tokenizer.from_file(str(starter_path() / "tokenizer.json")), seed=5, batch_tokens=512)


def test_without_makers_a_block_is_made_when_it_is_asked_for(corpus):
    assert Feed(corpus, makers=0, tokens=1_000).block(3, LATE) == corpus.samples(3, LATE, 1_000)


def test_makers_give_the_same_blocks_in_order(corpus):
    feed = Feed(corpus, makers=1, tokens=500)
    try:
        made = [feed.block(number, EARLY if number == 4 else LATE) for number in range(4, 8)]
        assert made[0] == corpus.samples(4, EARLY, 500)
        # The two blocks after it were begun with it.
        assert made[2] == corpus.samples(6, EARLY, 500)
        assert made[3] == corpus.samples(7, LATE, 500)
        with pytest.raises(ValueError, match="block 8 comes next"):
            feed.block(11, LATE)
    finally:
        feed.close()
