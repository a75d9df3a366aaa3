"""A text to the ids of its tokens, by a `tokenizers.Tokenizer` whose file settings for training are undone."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import final

from tokenizers import Tokenizer

from mixllm.encoders.word_by_word import WordByWord
from mixllm.errors import EncoderError

__all__ = ["TokenIds"]


@final
class TokenIds:
    """Ids of the tokens of texts: no special tokens, no padding, no truncation, no unknown tokens.

    Parameters
    ----------
    tokenizer
        It is not changed: one that truncates or pads is copied first.

    Attributes
    ----------
    tokenizer
        The tokenizer in use.
    largest_id
        The largest id that it can give.

    Raises
    ------
    EncoderError
        Where its vocabulary is empty or lacks its own token for unknown words (it would fail on the first such word),
        or where it draws at random.

    Notes
    -----
    Unknown tokens are left out, as model2vec leaves them out: they say nothing about the text.

    Building one sets ``TOKENIZERS_PARALLELISM=false`` in the environment unless it is set already. One query is too
    short to split over threads, and once the library has started its threads some of its versions warn on stderr or
    hang in processes that are forked afterwards.
    """

    __slots__ = ("_by_word", "_unknown_id", "largest_id", "tokenizer")

    def __init__(self, *, tokenizer: Tokenizer) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        if tokenizer.truncation is not None or tokenizer.padding is not None:
            tokenizer = Tokenizer.from_str(tokenizer.to_str())
            tokenizer.no_truncation()
            tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.largest_id: int = max(tokenizer.get_vocab().values(), default=-1)
        if self.largest_id < 0:
            raise EncoderError(
                "The tokenizer has an empty vocabulary. Use the tokenizer.json that came with the table."
            )
        _refuse_sampling(tokenizer)
        self._unknown_id = _unknown_id(tokenizer)
        self._by_word = WordByWord.of(tokenizer)

    def of(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of the tokens of each text; the texts must be valid Unicode."""
        every = self._by_library(texts) if self._by_word is None else self._word_by_word(self._by_word, texts)
        unknown = self._unknown_id
        if unknown is None:
            return every
        return [[one for one in ids if one != unknown] if unknown in ids else ids for ids in every]

    def _by_library(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def _word_by_word(self, by_word: WordByWord, texts: Sequence[str]) -> list[list[int]]:
        every: list[list[int]] = []
        for text in texts:
            ids = by_word.ids(text)
            every.append(self._by_library([text])[0] if ids is None else ids)
        return every


def _refuse_sampling(tokenizer: Tokenizer) -> None:
    for setting in ("dropout", "alpha"):
        if getattr(tokenizer.model, setting, None):
            raise EncoderError(
                f"The tokenizer draws at random (its model has {setting} set), so that one text would get several "
                f"vectors. Set {setting} to null in its file."
            )


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """Return the id that unknown words get; None where there are no unknown words."""
    model = tokenizer.model
    if hasattr(model, "unk_token"):
        if model.unk_token is None:
            return None
        found = tokenizer.token_to_id(model.unk_token)
    else:
        # A Unigram model shows its unknown token only in its serialised form.
        found = json.loads(tokenizer.to_str())["model"].get("unk_id")
    if found is None:
        raise EncoderError(
            "The tokenizer's vocabulary lacks its own token for unknown words, so that it fails on the first of them. "
            "Add the token to its vocabulary, or use the tokenizer.json that came with the table."
        )
    return int(found)
