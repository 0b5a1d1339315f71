import pytest
import torch
from tokenizers import Tokenizer

from vllm_local.starter import starter_path
from vllm_local.starter.corpus import Batch, Corpus, Mixture
from vllm_local.starter.feed import Block, Feed

EARLY, LATE = Mixture(((256, 1),), drills=1.0), Mixture(((256, 1),), drills=0.0)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus(Tokenizer.from_file(str(starter_path() / "tokenizer.json")), seed=5, batch_tokens=512, step_batches=2)


def tensors(block: Block) -> list[torch.Tensor]:
    return [tensor for step in block for batch in step for tensor in vars(batch).values()]


def same(block: Block, other: Block) -> bool:
    return all(torch.equal(mine, theirs) for mine, theirs in zip(tensors(block), tensors(other), strict=True))


def test_without_makers_a_block_is_made_when_it_is_asked_for(corpus):
    feed = Feed(corpus, makers=0, steps=2)
    assert same(feed.block(3, LATE), corpus.block(3, LATE, 2))


def test_makers_give_the_same_blocks_in_order(corpus):
    feed = Feed(corpus, makers=1, steps=1)
    try:
        made = [feed.block(number, EARLY if number == 4 else LATE) for number in range(4, 8)]
        assert isinstance(made[0][0][0], Batch)
        assert same(made[0], corpus.block(4, EARLY, 1))
        # The two blocks after it were begun with it.
        assert same(made[2], corpus.block(6, EARLY, 1))
        assert same(made[3], corpus.block(7, LATE, 1))
        with pytest.raises(ValueError, match="block 8 comes next"):
            feed.block(11, LATE)
    finally:
        feed.close()
