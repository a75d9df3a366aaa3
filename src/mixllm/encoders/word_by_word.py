"""Tokens of a text word by word, for tokenizers that join nothing across words; words that were seen are known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import chain
from typing import Self, final

from tokenizers import Tokenizer

__all__ = ["WordByWord"]

_SPACE = "\u2581"
"""What such a tokenizer writes for a space."""

_NORMALISERS = [
    {"type": "Prepend", "prepend": _SPACE},
    {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
]
_ALTERING = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
"""Settings with which pairs are not all there is to it."""

_PIECE = re.compile(f"{_SPACE}*[^{_SPACE}\n]+|{_SPACE}+|\n+")
_MAX_WORDS = 16_384
_MAX_WORD_CHARS = 32


@final
class WordByWord:
    r"""The ids that a byte-pair tokenizer gives, found word by word.

    The library searches a text of such a tokenizer as if it were one long word, whose time grows faster than its
    length; here each word is searched once and then known, as long as there is room.

    Parameters
    ----------
    tokenize
        Gives the ids of a word.
    parted_by
        Texts that the tokenizer cuts out before anything else.

    Notes
    -----
    A byte-pair tokenizer joins neighbours where its vocabulary has the two as one token. Where no token has a space
    anywhere but before everything else, nothing is ever joined across the beginning of a word; and where none has a
    line feed beside something else, nothing across one. The ids of a text are then those of its words, one after the
    other, which is not an approximation. `of` checks this, and returns None for all other tokenizers.

    Examples
    --------
    >>> from mixllm.encoders.static_files import read_wordllama
    >>> tokenizer = read_wordllama().tokenizer
    >>> text = "Sort a list\nin Python"
    >>> WordByWord.of(tokenizer).ids(text) == tokenizer.encode(text, add_special_tokens=False).ids
    True
    """

    __slots__ = ("_known", "_parted_by")

    def __init__(self, *, tokenize: Callable[[str], list[int]], parted_by: tuple[str, ...] = ()) -> None:
        self._known = _Known(tokenize)
        self._parted_by = parted_by

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self | None:
        """Return what gives the same ids as `tokenizer`; None where that joins across words, or may do so."""
        if not _is_plain(tokenizer) or any(map(_joins_words, tokenizer.get_vocab())):
            return None
        model = tokenizer.model
        parted_by = tuple(token.content for token in tokenizer.get_added_tokens_decoder().values())
        return cls(tokenize=lambda word: [token.id for token in model.tokenize(word)], parted_by=parted_by)

    def ids(self, text: str) -> list[int] | None:
        """Return the ids of the tokens of `text`; None where it holds a text that the tokenizer cuts out first."""
        for cut in self._parted_by:
            if cut in text:
                return None
        if not text:
            return []
        pieces = _PIECE.findall(_SPACE + text.replace(" ", _SPACE))
        return list(chain.from_iterable(map(self._known.__getitem__, pieces)))


class _Known(dict[str, tuple[int, ...]]):
    """The ids of words, looked up when they are first asked for."""

    def __init__(self, tokenize: Callable[[str], list[int]]) -> None:
        super().__init__()
        self._tokenize = tokenize

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = tuple(self._tokenize(word))
        if len(word) <= _MAX_WORD_CHARS:
            if len(self) >= _MAX_WORDS:
                self.clear()  # Words that are often used are back at once.
            self[word] = ids
        return ids


def _is_plain(tokenizer: Tokenizer) -> bool:
    """Return whether it is a byte-pair tokenizer that writes spaces as `_SPACE` and does nothing else to a text."""
    model, normaliser = tokenizer.model, tokenizer.normalizer
    if type(model).__name__ != "BPE" or tokenizer.pre_tokenizer is not None or normaliser is None:
        return False
    if any(getattr(model, name) for name in _ALTERING):
        return False
    described = json.loads(normaliser.__getstate__())
    return bool(described.get("type") == "Sequence" and described["normalizers"] == _NORMALISERS)


def _joins_words(entry: str) -> bool:
    """Return whether an entry of the vocabulary reaches from one word, or one line, into the next."""
    return _SPACE in entry.lstrip(_SPACE) or ("\n" in entry and entry != "\n")
