"""Spellings of one tag made equal: case, punctuation, plurals and -ing, by a few rules for English."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["spelling_key", "word_key"]

_WORD = re.compile(r"[^\W_]+[+#]*")
_FILLERS = frozenset(("a", "an", "and", "for", "in", "of", "on", "or", "the", "to", "with"))
_KEPT = frozenset(
    (
        *("always", "bias", "canvas", "chaos", "christmas", "gas", "has", "his", "news", "was"),  # -s that is no plural
        *("anything", "during", "evening", "everything", "morning", "nothing", "something"),  # -ing: no activity
    )
)
_VOWEL = re.compile(r"[aeiouy]")
_DOUBLED = re.compile(r"([bdfgklmnprtz])\1$")
_SHORT = 3


def spelling_key(tag: str) -> str:
    """Return what all spellings of `tag` have in common; an empty string where it has no letter or digit.

    Lower case, no punctuation, no filler words (unless there is nothing else), each English word as its `word_key`.
    ``+`` and ``#`` at a word's end stay: C, C++ and C# are three things.

    Examples
    --------
    >>> spelling_key("Word Problems") == spelling_key("word-problem")
    True
    >>> spelling_key("C++ coding"), spelling_key("Code in C")
    ('c++ cod', 'cod c')
    """
    words = _WORD.findall(unicodedata.normalize("NFKC", tag).casefold())
    telling = [word for word in words if word not in _FILLERS]
    return " ".join(word_key(word) for word in telling or words)


def word_key(word: str) -> str:
    """Return what the forms of an English word in lower case have in common; other words as they are.

    The rules, applied until nothing changes, to words of more than three letters: -ies → -i; -shes, -ches, -xes, -zes,
    -sses lose -es; -s goes, but not of -ss, -us, -is, -ics; -ing goes where a vowel is left before it; -e goes; a
    doubled consonant at the end becomes single; -y → -i. Exceptions are listed. The key is no word and is never
    shown; it only has to be the same for all forms of one, and seldom for two.

    Examples
    --------
    >>> [word_key(word) for word in ("query", "queries", "program", "programming", "writing", "physics", "string")]
    ['queri', 'queri', 'program', 'program', 'writ', 'physics', 'string']
    """
    before = ""
    while word != before:
        before, word = word, _shorter(word)
    return word


def _shorter(word: str) -> str:
    if len(word) <= _SHORT or word in _KEPT or not (word.isascii() and word.isalpha()):
        return word
    if (word.endswith("ies") and len(word) > len("ties")) or word.endswith(("shes", "ches", "xes", "zes", "sses")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is", "ics")):
        return word[:-1]
    if word.endswith("ing") and _VOWEL.search(word[:-3]):
        return word[:-3]
    if word.endswith("e") or _DOUBLED.search(word):
        return word[:-1]
    return word[:-1] + "i" if word.endswith("y") else word
