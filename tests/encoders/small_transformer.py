"""A tiny sentence transformer, made in the test: one layer, 32 dimensions, a vocabulary of made-up domains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

__all__ = ["DOMAIN_WORDS", "domain_texts", "write_transformer"]

DOMAIN_WORDS = {
    "code": ["function", "compile", "python", "loop", "bug", "array", "integer", "stack"],
    "law": ["court", "judge", "contract", "plaintiff", "statute", "appeal", "witness", "clause"],
    "medicine": ["patient", "doctor", "fever", "drug", "surgery", "nurse", "symptom", "vaccine"],
}
_COMMON = [
    *("the", "a", "of", "is", "what", "how", "write", "please"),
    *("explain", "find", "about", "give", "this", "that", "with", "for"),
]
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PIECES = [
    *"abcdefghijklmnopqrstuvwxyz0123456789.,?!:",
    *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"),
]
_TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
_POOLING = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"


def domain_texts(per_domain: int, *, seed: int = 0, own_words: int = 2) -> tuple[list[str], list[str]]:
    """Return texts of the made-up domains and their labels: mostly common words, a few of the domain."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for domain, words in DOMAIN_WORDS.items():
        for _ in range(per_domain):
            chosen = [*rng.choice(words, own_words, replace=False), *rng.choice(_COMMON, 6)]
            texts.append(" ".join(rng.permutation(chosen)))
            labels.append(domain)
    return texts, labels


def write_transformer(
    folder: Path, *, seed: int = 0, max_tokens: int = 48, dimension: int = 32, prompt: str | None = None
) -> Path:
    """Write a folder as sentence-transformers saves it, with random weights."""
    import torch
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True)
    tokenizer = _tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = BertModel(
            BertConfig(
                vocab_size=tokenizer.get_vocab_size(),
                hidden_size=dimension,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=64,
                max_position_embeddings=64,
            )
        )
    network.save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    _write(folder / "tokenizer_config.json", _tokenizer_config(max_tokens))
    _write(folder / "1_Pooling" / "config.json", {"embedding_dimension": dimension, "pooling_mode": "mean"})
    _write(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens})
    _write(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": _TRANSFORMER},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": _POOLING},
        ],
    )
    prompts = {} if prompt is None else {"prompts": {"query": prompt}, "default_prompt_name": "query"}
    _write(folder / "config_sentence_transformers.json", {"model_type": "SentenceTransformer", **prompts})
    return folder


def _tokenizer() -> Tokenizer:
    words = [*_SPECIAL, *_PIECES, *_COMMON, *(word for words in DOMAIN_WORDS.values() for word in words)]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]", max_input_chars_per_word=200))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    return tokenizer


def _tokenizer_config(max_tokens: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": max_tokens,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }


def _write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content))
