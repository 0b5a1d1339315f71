import hypothesis
import hypothesis.strategies as st
import pytest

from tests.engine.tokenizer import samples
from vllm_local.tokenizer.detokenizer import IncrementalDecoder, IncrementalDetokenizer

REPLACEMENT = "\ufffd"
ids = st.lists(st.integers(0, 10_000), max_size=60)


def pieces_of(tokenizer, token_ids, **kwargs):
    decoder = IncrementalDecoder(tokenizer, **kwargs)
    return [*(decoder.append(token_id) for token_id in token_ids), decoder.flush()]


@hypothesis.given(text=st.one_of(st.sampled_from(samples.TEXTS), st.text(max_size=40)), skip=st.booleans())
def test_pieces_join_to_the_decoded_text(tokenizers_by_kind, text, skip):
    for tokenizer in tokenizers_by_kind.values():
        token_ids = tokenizer.encode(text + "</s>")
        pieces = pieces_of(tokenizer, token_ids, skip_special_tokens=skip)
        assert "".join(pieces) == tokenizer.decode(token_ids, skip_special_tokens=skip)


@hypothesis.given(token_ids=ids, skip=st.booleans())
@pytest.mark.parametrize("kind", ["byte_level_bpe", "metaspace_unigram", "word_piece"])
def test_pieces_of_any_tokens_join_to_the_decoded_text(tokenizers_by_kind, kind, token_ids, skip):
    tokenizer = tokenizers_by_kind[kind]
    token_ids = [token_id % (tokenizer.vocab_size + 3) for token_id in token_ids]
    pieces = pieces_of(tokenizer, token_ids, skip_special_tokens=skip)
    assert "".join(pieces) == tokenizer.decode(token_ids, skip_special_tokens=skip)


@hypothesis.given(token_ids=ids)
def test_single_bytes_join_to_the_decoded_text_where_they_are_text(tokenizers_by_kind, token_ids):
    tokenizer = tokenizers_by_kind["llama2_bpe"]
    token_ids = [token_id % tokenizer.vocab_size for token_id in token_ids]
    whole = tokenizer.decode(token_ids)
    joined = "".join(pieces_of(tokenizer, token_ids))
    hypothesis.assume(REPLACEMENT not in whole)
    assert joined == whole


def test_broken_bytes_do_not_spoil_complete_characters_beside_them(tokenizers_by_kind):
    tokenizer = tokenizers_by_kind["llama2_bpe"]
    token_ids = [tokenizer.convert_piece_to_id(f"<0x{byte:02X}>") for byte in "né".encode() + b"\xff" + b"e"]
    assert "".join(pieces_of(tokenizer, token_ids)).replace(REPLACEMENT, "").startswith("né")


def test_long_runs_of_single_bytes_stream_character_by_character(tokenizers_by_kind):
    tokenizer = tokenizers_by_kind["llama2_bpe"]
    token_ids = tokenizer.encode("ሰላም ለዓለም፤ " * 5, add_special_tokens=False)
    pieces = pieces_of(tokenizer, token_ids)
    assert "".join(pieces) == tokenizer.decode(token_ids)
    assert max(map(len, pieces)) == 1


@hypothesis.given(text=st.text(max_size=40))
def test_half_characters_are_held_back(tokenizers_by_kind, text):
    hypothesis.assume(REPLACEMENT not in text)
    for kind in ("byte_level_bpe", "llama2_bpe"):
        tokenizer = tokenizers_by_kind[kind]
        *pieces, rest = pieces_of(tokenizer, tokenizer.encode(text, add_special_tokens=False))
        assert REPLACEMENT not in "".join(pieces)
        assert not rest


@pytest.mark.parametrize("kind", ["byte_level_bpe", "llama2_bpe"])
def test_incomplete_bytes_at_the_end_read_as_a_plain_decode(tokenizers_by_kind, kind):
    tokenizer = tokenizers_by_kind[kind]
    token_ids = tokenizer.encode("a👋", add_special_tokens=False)[:-1]
    *pieces, rest = pieces_of(tokenizer, token_ids)
    assert "".join(pieces) == "a"
    assert "a" + rest == tokenizer.decode(token_ids)
    assert set(rest) == {REPLACEMENT}


def test_the_text_continues_its_prompt(tokenizer):
    prompt = tokenizer.encode("Hello, world! I love")
    token_ids = tokenizer.encode("Hello, world! I love programming")[len(prompt) :]
    continued = "".join(pieces_of(tokenizer, token_ids, prompt_token_ids=prompt))
    assert tokenizer.decode(prompt) + continued == tokenizer.decode(prompt + token_ids)


def test_work_per_token_does_not_grow(tokenizers_by_kind, monkeypatch):
    tokenizer = tokenizers_by_kind["byte_level_bpe"]
    broken = tokenizer.encode("👋", add_special_tokens=False)[0]
    lengths = []
    decode = tokenizer.decode

    def spy(token_ids, skip_special_tokens=True):
        lengths.append(len(token_ids))
        return decode(token_ids, skip_special_tokens)

    monkeypatch.setattr(tokenizer, "decode", spy)
    token_ids = [broken] * 500 + tokenizer.encode("fine again", add_special_tokens=False) * 20
    joined = "".join(pieces_of(tokenizer, token_ids))
    assert joined == decode(token_ids)
    assert max(lengths) <= 40


def test_stop_string_across_tokens_is_never_shown(tokenizer):
    token_ids = tokenizer.encode("quick brown fox jumps over", add_special_tokens=False)
    detokenizer = IncrementalDetokenizer(tokenizer, stop_strings=["own fox j"])
    shown = ""
    read: list[int] = []
    stop_string = None
    while stop_string is None:
        read.append(token_ids[len(read)])
        text, num_tokens, stop_string = detokenizer.append(read[-1:])
        shown += text
        assert "quick br".startswith(shown)
        assert num_tokens == 1
    assert (shown, stop_string) == ("quick br", "own fox j")
    assert "own fox j" in tokenizer.decode(read)
    assert "own fox j" not in tokenizer.decode(read[:-1])


def test_surplus_tokens_are_not_read(tokenizer):
    token_ids = tokenizer.encode("quick brown fox jumps over", add_special_tokens=False)
    text, num_tokens, stop_string = IncrementalDetokenizer(tokenizer, stop_strings=["brown"]).append(token_ids)
    assert stop_string == "brown"
    assert num_tokens < len(token_ids)
    assert text == "quick "


def test_stop_string_can_be_kept(tokenizer):
    token_ids = tokenizer.encode("quick brown fox jumps", add_special_tokens=False)
    detokenizer = IncrementalDetokenizer(tokenizer, stop_strings=["fox"], include_stop_str_in_output=True)
    assert detokenizer.append(token_ids).text == "quick brown fox"


def test_stop_string_does_not_count_within_min_tokens(tokenizers_by_kind):
    tokenizer = tokenizers_by_kind["byte_level_bpe"]
    token_ids = tokenizer.encode("xx.yy.zz.", add_special_tokens=False)
    first = len(tokenizer.encode("xx.", add_special_tokens=False))
    for min_tokens, expected in ((0, "xx"), (first - 1, "xx"), (first, "xx.yy")):
        detokenizer = IncrementalDetokenizer(tokenizer, stop_strings=["."], min_tokens=min_tokens)
        assert detokenizer.append(token_ids).text == expected


def test_what_was_held_back_is_shown_at_the_end(tokenizer):
    token_ids = tokenizer.encode("quick brown", add_special_tokens=False)
    detokenizer = IncrementalDetokenizer(tokenizer, stop_strings=["brown fox"])
    text, _, stop_string = detokenizer.append(token_ids)
    assert stop_string is None
    assert "brown" not in text
    assert text + detokenizer.finish() == "quick brown"


@pytest.mark.parametrize("kind", ["byte_level_bpe", "llama2_bpe"])
def test_a_stop_string_of_incomplete_bytes_is_not_shown_at_the_end(tokenizers_by_kind, kind):
    tokenizer = tokenizers_by_kind[kind]
    token_ids = tokenizer.encode("quick 👋", add_special_tokens=False)[:-1]
    detokenizer = IncrementalDetokenizer(tokenizer, stop_strings=[f"k {REPLACEMENT}"])
    text, _, stop_string = detokenizer.append(token_ids)
    assert (text + detokenizer.finish(), stop_string) == ("quic", None)
