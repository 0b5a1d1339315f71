"""Small tokenizers of every common kind, trained on the spot and saved as a checkpoint folder would hold them."""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "Hello, world! I love programming; Io amo programmare. Ich liebe das Programmieren.",
    "J'adore programmer. ¿Qué tal? Grüße aus Köln — ça va très bien, naïve café.",
    "the quick brown fox jumps over the lazy dog. don't can't won't it's 1234567890",
    "  indented\n\n\ttext with   spaces\r\n",
] * 4
TEXTS = [
    "Hello, world!",
    "Grüße, 東京! 👋🏽 don't   stop\n\n",
    "नमस्ते café 🤖🤖",
    " leading and trailing ",
    "\ufffd kept",
]
SPECIAL_TOKENS = ["<s>", "</s>", "<|im_start|>"]


def byte_level_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        show_progress=False,
        vocab_size=320,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def llama2_bpe() -> Tokenizer:
    """Spells unknown characters byte by byte, as SentencePiece models do."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        show_progress=False, vocab_size=400, special_tokens=["<unk>", *SPECIAL_TOKENS, *bytes_]
    )
    tokenizer.train_from_iterator([text.replace(" ", "▁") for text in CORPUS[:3]], trainer)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [item for item in content["added_tokens"] if not item["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


def metaspace_unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        show_progress=False, vocab_size=200, special_tokens=["<unk>", *SPECIAL_TOKENS], unk_token="<unk>"
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(show_progress=False, vocab_size=200, special_tokens=["[UNK]", *SPECIAL_TOKENS])
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


KINDS = {
    "byte_level_bpe": byte_level_bpe,
    "llama2_bpe": llama2_bpe,
    "metaspace_unigram": metaspace_unigram,
    "word_piece": word_piece,
}
"""Makers by name."""


def save(tokenizer: Tokenizer, folder: Path, **config: object) -> Path:
    """Writes tokenizer.json and tokenizer_config.json; keywords go into the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    tokenizer.save(str(folder / "tokenizer.json"))
    defaults = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**defaults, **config}), encoding="utf-8")
    return folder
