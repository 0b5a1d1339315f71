import json
import subprocess
import sys
import threading

import pytest
from transformers import AutoTokenizer

from tests.engine.tokenizer import samples
from vllm_local.config import EngineConfig
from vllm_local.errors import CorruptModelError, InvalidRequestError, ModelLoadError
from vllm_local.tokenizer.backends import LONG_TEXT
from vllm_local.tokenizer.tokenizer import Tokenizer

TEMPLATE = "{{ messages[0]['content'] }}"


@pytest.fixture
def folder(tmp_path):
    return samples.save(samples.byte_level_bpe(), tmp_path / "model")


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("kind", samples.KINDS)
@pytest.mark.parametrize("config", [{}, {"add_bos_token": True}, {"add_bos_token": False, "add_eos_token": True}])
def test_same_tokens_as_transformers(tmp_path, kind, config):
    folder = samples.save(samples.KINDS[kind](), tmp_path, **config)
    theirs, ours = AutoTokenizer.from_pretrained(str(folder)), Tokenizer.from_path(folder)
    assert ours.vocab_size == len(theirs)
    assert ours.eos_token_ids == {theirs.eos_token_id}
    assert ours.special_token_ids >= set(theirs.all_special_ids)
    for text in [*samples.TEXTS, "<s>written out</s>", ""]:
        for special in (True, False):
            token_ids = ours.encode(text, add_special_tokens=special)
            assert token_ids == theirs.encode(text, add_special_tokens=special)
            for skip in (True, False):
                expected = theirs.decode(token_ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
                assert ours.decode(token_ids, skip_special_tokens=skip) == expected


def test_bos_comes_from_the_post_processor(tmp_path):
    llama = Tokenizer.from_path(samples.save(samples.llama2_bpe(), tmp_path / "llama"))
    bytes_ = Tokenizer.from_path(samples.save(samples.byte_level_bpe(), tmp_path / "bytes"))
    assert llama.adds_bos_token
    assert llama.encode("x")[0] == llama.bos_token_id
    assert not bytes_.adds_bos_token


def test_truncation_and_padding_of_the_file_are_off(tmp_path):
    backend = samples.byte_level_bpe()
    backend.enable_truncation(4)
    backend.enable_padding(length=64)
    tokenizer = Tokenizer.from_path(samples.save(backend, tmp_path))
    assert tokenizer.decode(tokenizer.encode("a longer text than that")) == "a longer text than that"


def test_tokens_that_only_the_config_declares(tmp_path):
    vocab_size = samples.byte_level_bpe().get_vocab_size()
    added = {"content": "<|new|>", "special": True, "normalized": False, "lstrip": False, "rstrip": False}
    beyond = {**added, "content": "<|beyond|>"}
    folder = samples.save(
        samples.byte_level_bpe(), tmp_path, added_tokens_decoder={vocab_size: added, vocab_size + 7: beyond}
    )
    tokenizer = Tokenizer.from_path(folder)
    assert tokenizer.encode("<|new|>") == [vocab_size]
    assert tokenizer.decode([vocab_size]) == ""
    assert tokenizer.convert_piece_to_id("<|beyond|>") is None


def test_eos_ids_of_every_file(folder):
    eos = Tokenizer.from_path(folder).eos_token_ids
    assert len(eos) == 1
    write(folder, "config.json", {"eos_token_id": 11})
    assert Tokenizer.from_path(folder).eos_token_ids == eos | {11}
    write(folder, "generation_config.json", {"eos_token_id": [7, 9]})
    assert Tokenizer.from_path(folder).eos_token_ids == eos | {7, 9}


def test_eos_ids_of_the_model_with_another_tokenizer(folder, tmp_path):
    write(tmp_path / "other", "generation_config.json", {"eos_token_id": 5})
    assert 5 in Tokenizer.from_path(folder, model_path=tmp_path / "other").eos_token_ids


def test_eos_ids_of_a_text_config(folder):
    write(folder, "config.json", {"text_config": {"eos_token_id": 13}})
    assert 13 in Tokenizer.from_path(folder).eos_token_ids


def test_chat_template_sources(folder):
    assert Tokenizer.from_path(folder).chat_template is None
    named = [{"name": "default", "template": TEMPLATE}, {"name": "tool_use", "template": "tools"}]
    write(folder, "tokenizer_config.json", {"chat_template": named})
    assert Tokenizer.from_path(folder).chat_templates == {"default": TEMPLATE, "tool_use": "tools"}
    write(folder, "tokenizer_config.json", {"chat_template": TEMPLATE})
    assert Tokenizer.from_path(folder).chat_template == TEMPLATE
    write(folder, "chat_template.json", {"chat_template": "from json"})
    assert Tokenizer.from_path(folder).chat_template == "from json"
    write(folder, "chat_template.jinja", "from jinja")
    write(folder, "additional_chat_templates/rag.jinja", "documents")
    assert Tokenizer.from_path(folder).chat_templates == {"default": "from jinja", "rag": "documents"}


def test_special_tokens_of_the_old_map(folder):
    (folder / "tokenizer_config.json").unlink()
    write(folder, "special_tokens_map.json", {"eos_token": {"content": "</s>"}, "bos_token": "<s>"})
    tokenizer = Tokenizer.from_path(folder)
    assert tokenizer.special_tokens == {"eos_token": "</s>", "bos_token": "<s>"}
    assert tokenizer.eos_token_ids == {tokenizer.convert_piece_to_id("</s>")}


def test_token_text_keeps_the_space(tokenizer):
    token_ids = tokenizer.encode("I love programming", add_special_tokens=False)
    assert "".join(map(tokenizer.token_text, token_ids)).strip() == "I love programming"
    assert any(tokenizer.token_text(token_id).startswith(" ") for token_id in token_ids)


def test_token_text_of_special_tokens_and_of_no_token(tokenizer):
    assert tokenizer.token_text(tokenizer.convert_piece_to_id("</s>")).strip() == "</s>"
    assert tokenizer.token_text(tokenizer.vocab_size + 5) == ""


def test_without_tokenizer_json_transformers_loads_it(tmp_path):
    vocab = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "hello", "world", "##s"]
    write(tmp_path, "vocab.txt", "\n".join(vocab))
    write(tmp_path, "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "eos_token": "[SEP]"})
    tokenizer = Tokenizer.from_path(tmp_path, EngineConfig())
    token_ids = tokenizer.encode("hello worlds", add_special_tokens=False)
    assert token_ids == [5, 6, 7]
    assert tokenizer.decode(token_ids) == "hello worlds"
    assert tokenizer.convert_id_to_piece(7) == "##s"
    assert tokenizer.convert_id_to_piece(1000) is None
    assert tokenizer.convert_piece_to_id("hello") == 5
    assert tokenizer.convert_piece_to_id("absent") is None
    assert tokenizer.eos_token_ids == {2}
    assert tokenizer.special_tokens["unk_token"] == "[UNK]"
    assert tokenizer.vocab_size == len(vocab)


def test_the_native_path_imports_no_transformers(folder):
    code = (
        "import sys; from pathlib import Path; from vllm_local.tokenizer.tokenizer import Tokenizer; "
        f"Tokenizer.from_path(Path({str(folder)!r})).encode('x'); "
        "sys.exit(bool({'transformers', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_folder(tmp_path):
    with pytest.raises(CorruptModelError, match="does not exist"):
        Tokenizer.from_path(tmp_path / "absent")


def test_no_tokenizer_in_the_folder(tmp_path):
    write(tmp_path, "config.json", {"model_type": "llama"})
    with pytest.raises(ModelLoadError, match=r"no tokenizer\.json"):
        Tokenizer.from_path(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"version": "1.0"}'])
def test_damaged_tokenizer_json(folder, content):
    write(folder, "tokenizer.json", content)
    with pytest.raises(CorruptModelError, match=r"tokenizer\.json"):
        Tokenizer.from_path(folder)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"a":' * 100_000, '{"chat_template": 3}', '{"chat_template": [{"name": "x"}]}']
)
def test_damaged_tokenizer_config(folder, content):
    write(folder, "tokenizer_config.json", content)
    with pytest.raises(CorruptModelError, match=r"tokenizer_config\.json"):
        Tokenizer.from_path(folder)


@pytest.mark.parametrize(
    "config",
    [
        {"additional_special_tokens": 5},
        {"extra_special_tokens": "abc"},
        {"added_tokens_decoder": {"one": {"content": "x"}, "-1": {"content": "y"}}},
        {"added_tokens_decoder": [5]},
    ],
)
def test_odd_declarations_declare_nothing(folder, config):
    expected = Tokenizer.from_path(folder)
    write(folder, "tokenizer_config.json", {**json.loads((folder / "tokenizer_config.json").read_text()), **config})
    tokenizer = Tokenizer.from_path(folder)
    assert tokenizer.special_token_ids == expected.special_token_ids
    assert tokenizer.vocab_size == expected.vocab_size


def test_half_a_surrogate_pair_is_no_text(folder):
    with pytest.raises(InvalidRequestError, match=r"cannot be encoded.*surrogates not allowed"):
        Tokenizer.from_path(folder).encode("a\ud800b")


@pytest.mark.parametrize("kind", samples.KINDS)
def test_long_texts_have_the_tokens_that_transformers_gives_them(tmp_path, kind):
    folder = samples.save(samples.KINDS[kind](), tmp_path)
    theirs, ours = AutoTokenizer.from_pretrained(str(folder)), Tokenizer.from_path(folder)
    text = " ".join(samples.TEXTS) * (LONG_TEXT // 50)
    assert len(text) > LONG_TEXT
    for special in (True, False):
        assert ours.encode(text, add_special_tokens=special) == theirs.encode(text, add_special_tokens=special)
    with pytest.raises(InvalidRequestError, match=r"cannot be encoded.*surrogates not allowed"):
        ours.encode(f"{text}\ud800")


def test_other_threads_run_while_a_long_text_is_tokenised(folder):
    """A thread that cannot run cannot count; one that holds the interpreter lets it count now and then at most."""
    tokenizer, text = Tokenizer.from_path(folder), "abc def! " * (3 * LONG_TEXT)
    count, is_over = 0, threading.Event()

    def go_on_counting():
        nonlocal count
        while not is_over.is_set():
            count += 1

    thread = threading.Thread(target=go_on_counting)
    thread.start()
    try:
        before = count
        tokenizer.encode(text)
        during = count - before
    finally:
        is_over.set()
        thread.join()
    assert during > 1_000_000


def test_code_of_a_checkpoint_runs_only_if_asked(tmp_path):
    write(tmp_path, "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}})
    write(tmp_path, "own.py", "raise SystemExit('the code of the checkpoint ran')")
    with pytest.raises(ModelLoadError, match="trust_remote_code"):
        Tokenizer.from_path(tmp_path, EngineConfig())
    with pytest.raises(SystemExit):
        Tokenizer.from_path(tmp_path, EngineConfig(trust_remote_code=True))
