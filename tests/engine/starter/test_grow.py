import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from vllm_local.starter import starter_path
from vllm_local.starter.corpus import Batch, Packed
from vllm_local.starter.grow import copy_kv_heads, cut_vocabulary, grow, insert_layers, take_embeddings
from vllm_local.starter.network import Network, Sizes
from vllm_local.starter.tokenizer import END, MARKERS, SPECIAL, token_id

TEXT = "<|im_start|>user\nRepeat: Bordeaux, 世界, 4711<|im_end|>\n<tool_call>"


def shipped() -> Tokenizer:
    return Tokenizer.from_file(str(starter_path() / "tokenizer.json"))


def test_a_smaller_vocabulary_reads_the_same_text():
    smaller = cut_vocabulary(shipped(), 400)
    assert 400 < smaller.get_vocab_size() < 430
    ids = smaller.encode(TEXT).ids
    assert smaller.decode(ids, skip_special_tokens=False) == TEXT
    assert len(ids) > len(shipped().encode(TEXT).ids)
    assert smaller.encode(" amo programmare").tokens == ["Ġ", "amo", "Ġ", "programmare"]


def test_tokens_keep_their_embeddings_and_new_ones_are_means():
    old, rows = shipped(), torch.randn(shipped().get_vocab_size(), 8)
    new = cut_vocabulary(old, 400)
    taken = take_embeddings(rows, old, new)
    for text in (*SPECIAL, *MARKERS, "a", "7"):
        assert torch.equal(taken[token_id(new, text)], rows[token_id(old, text)])
    made = [token for token in new.get_vocab() if old.token_to_id(token) is None]
    for token in made:
        torch.testing.assert_close(taken[token_id(new, token)], rows[old.encode(token).ids].mean(0))
    assert len(taken) == new.get_vocab_size()


def test_copied_heads_compute_the_same():
    sizes = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "head_dim": 8}
    few, many = (Network(Sizes(**sizes, num_key_value_heads=heads), torch.float32) for heads in (1, 4))
    few.initialise(seed=1)
    weights = few.llama_weights(dict(few.named_parameters()))
    many.read_llama(copy_kv_heads(weights, Sizes(**sizes, num_key_value_heads=4)))
    for layer in range(2):
        one = few.qkv[layer][32:40]
        torch.testing.assert_close(many.qkv[layer][32:64].unflatten(0, (4, 8)), one.expand(4, 8, 32), rtol=0, atol=0)
        torch.testing.assert_close(many.qkv[layer][:32], few.qkv[layer][:32], rtol=0, atol=0)


def test_inserted_layers_change_nothing_before_they_learn():
    sizes = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 40, "head_dim": 8}
    few = Network(Sizes(**sizes, num_hidden_layers=3), torch.float32)
    many = Network(Sizes(**sizes, num_hidden_layers=5), torch.float32)
    few.initialise(seed=1)
    many.read_llama(insert_layers(few.llama_weights(dict(few.named_parameters())), Sizes(**sizes, num_hidden_layers=5)))
    tokens = torch.randint(50, (1, 20), generator=torch.Generator().manual_seed(2))
    batch = Batch(tokens, tokens, tokens > 0)
    packed = Packed.of([batch], [tokens > 0], torch.device("cpu"))
    torch.testing.assert_close(many(packed), few(packed), rtol=0, atol=0)
    assert [bool(weight.any()) for weight in many.out] == [True, False, True, False, True]
    assert all(weight.any() for weight in (*many.qkv, *many.gate_up))


def test_a_grown_model_is_an_ordinary_folder(tmp_path):
    grow(starter_path(), tmp_path / "grown", merged=600)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "grown")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "grown")
    assert 600 < model.config.vocab_size == len(tokenizer) < 630
    assert model.config.eos_token_id == tokenizer.convert_tokens_to_ids(END)
