import pytest

from vllm_local.structured_output.tokenizer_bridge import TokenizerBridge


def bits(mask):
    return {32 * i + j for i, word in enumerate(mask.tolist()) for j in range(32) if word >> j & 1}


def test_special_tokens_stand_for_themselves(bridge, tokenizer):
    special = bridge.special_tokens()
    assert {"<|im_end|>", "<tool_call>", "</think>"} <= set(special)
    assert bridge.is_special(special["<tool_call>"])
    assert bridge.tokenize(b"<tool_call>", parse_special=True) == [special["<tool_call>"]]
    assert bits(bridge.end_mask) == set(bridge.eos_token_ids) == tokenizer.eos_token_ids


def test_plain_tokens_are_whole_characters_of_no_meaning(bridge, tokenizer):
    plain = bits(bridge.plain_mask)
    texts = [bridge.bytes_of([token_id]).decode() for token_id in plain]
    assert len(plain) > tokenizer.vocab_size * 3 // 4
    assert not set('"\\{}[]<>:/\n0') & set("".join(texts))
    assert not plain & set(bridge.special_tokens().values())


@pytest.mark.parametrize("kind", ["byte_level_bpe", "llama2_bpe", "metaspace_unigram"])
def test_text_is_cut_without_loss(sample_tokenizers, kind):
    bridge = TokenizerBridge(sample_tokenizers[kind], sample_tokenizers[kind].vocab_size)
    assert bridge.bytes_of(bridge.tokenize(b"the lazy dog")) == b"the lazy dog"


def test_a_padded_vocabulary_has_no_tokens_at_its_end(tokenizer):
    bridge = TokenizerBridge(tokenizer, tokenizer.vocab_size + 100)
    assert bridge.ll_tokenizer.vocab_size == tokenizer.vocab_size + 100
    assert max(bits(bridge.plain_mask)) < tokenizer.vocab_size
