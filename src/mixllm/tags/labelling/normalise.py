"""Raw tags made few: spellings, rare tags, tags of one meaning, and tags that always come together.

These are the four steps of InsTag (Lu et al. 2023, section 3.2), each a pure function from the queries' tags to the
queries' tags. None invents a tag, each leaves its own result as it is, and none depends on the order of the queries.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

import numpy as np

from mixllm.errors import InvalidValueError
from mixllm.interfaces import Encoder
from mixllm.tags.labelling.spelling import spelling_key
from mixllm.types import Value
from mixllm.units import fraction

__all__ = [
    "NormalisationSettings",
    "TagSets",
    "drop_rare",
    "merge_companions",
    "merge_similar",
    "merge_spellings",
    "normalise",
    "tag_counts",
]

TagSets: TypeAlias = tuple[frozenset[str], ...]
"""The tags of each query."""

_INSTAG_SHARE = 20 / 51_000
"""InsTag drops tags seen less than 20 times in its 51 thousand queries."""

_LEAST_COUNT = 2
_DECIMALS = 9


class NormalisationSettings(Value, frozen=True, kw_only=True):
    """How tags are made few.

    Parameters
    ----------
    min_count
        A tag of fewer queries is dropped; None takes InsTag's share of the queries, at least 2.
    similarity
        Tags whose names have at least this cosine are one, above 0.
    min_support
        Tags can only be companions where they come together in this many queries.
    confidence
        … and where each comes with the other in at least this share of its queries, above 0.5.

    Raises
    ------
    InvalidValueError
        Where a value is out of range.
    """

    min_count: int | None = None
    similarity: float = 0.9
    min_support: int = 5
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _at_least_1("min_count", 1 if self.min_count is None else self.min_count)
        _similarity(self.similarity)
        _at_least_1("min_support", self.min_support)
        _confidence(self.confidence)

    def least_count(self, queries: int) -> int:
        """Return how many of `queries` queries a tag must have."""
        if self.min_count is not None:
            return self.min_count
        return max(_LEAST_COUNT, math.ceil(_INSTAG_SHARE * queries))


def normalise(tags: TagSets, *, encoder: Encoder, settings: NormalisationSettings | None = None) -> TagSets:
    """Return `tags` after all four steps.

    InsTag drops rare tags first; here spellings are merged before that, so that they are counted together.

    Parameters
    ----------
    tags
        Raw tags of each query.
    encoder
        Encodes the tags' names.
    settings
        Thresholds.
    """
    chosen = settings or NormalisationSettings()
    tags = drop_rare(merge_spellings(tags), min_count=chosen.least_count(len(tags)))
    tags = merge_similar(tags, encoder=encoder, similarity=chosen.similarity)
    return merge_companions(tags, min_support=chosen.min_support, confidence=chosen.confidence)


def tag_counts(tags: Iterable[frozenset[str]]) -> dict[str, int]:
    """Return how many queries have each tag, most frequent first, equals by name."""
    counts = Counter(tag for names in tags for tag in names)
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def merge_spellings(tags: TagSets) -> TagSets:
    """Make spellings of one tag the most frequent of them (`spelling_key`); drop what has no letter or digit.

    Examples
    --------
    >>> sets = tuple(map(frozenset, (["word problem"], ["word problems"], ["word problem", "?"])))
    >>> [sorted(names) for names in merge_spellings(sets)]
    [['word problem'], ['word problem'], ['word problem']]
    """
    name_of_key: dict[str, str] = {}
    renamed: dict[str, str] = {}
    for tag in tag_counts(tags):
        if key := spelling_key(tag):
            renamed[tag] = name_of_key.setdefault(key, tag)
    return _renamed(tags, renamed)


def drop_rare(tags: TagSets, *, min_count: int) -> TagSets:
    """Drop the tags that fewer than `min_count` queries have; raises `InvalidValueError` where that is below 1."""
    _at_least_1("min_count", min_count)
    return _renamed(tags, {tag: tag for tag, count in tag_counts(tags).items() if count >= min_count})


def merge_similar(tags: TagSets, *, encoder: Encoder, similarity: float) -> TagSets:
    """Make tags of one meaning the most frequent of them.

    From the most frequent tag on, each joins the nearest of those before it that stand for themselves, where their
    cosine is at least `similarity`; else it stands for itself. Unlike in chains of neighbours (InsTag's DBSCAN), every
    tag is near the one that it becomes.

    Raises
    ------
    InvalidValueError
        Where `similarity` is not above 0 and at most 1.
    """
    _similarity(similarity)
    names = list(tag_counts(tags))
    if not names:
        return tags
    vectors = np.asarray(encoder.encode_batch(names), np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    standing: list[int] = []
    renamed: dict[str, str] = {}
    for row, name in enumerate(names):
        # Rounded, so that a cosine at the threshold does not depend on how the sum was ordered.
        cosines = np.round(vectors[standing] @ vectors[row], _DECIMALS)
        if standing and cosines.max() >= similarity:
            renamed[name] = names[standing[int(cosines.argmax())]]
        else:
            standing.append(row)
            renamed[name] = name
    return _renamed(tags, renamed)


def merge_companions(tags: TagSets, *, min_support: int, confidence: float) -> TagSets:
    """Make tags that nearly always come together the most frequent of them.

    Two tags a and b are companions where at least `min_support` queries have both, and both are at least `confidence`
    of those that have a, and of those that have b. The best pair is merged, until there is none. (InsTag mines rules
    in one direction; then a special tag would be lost in the general one that always comes with it.)

    Raises
    ------
    InvalidValueError
        Where `min_support` is below 1, or `confidence` not above 0.5 and at most 1.
    """
    _at_least_1("min_support", min_support)
    _confidence(confidence)
    while pairs := _companions(tags, min_support=min_support, confidence=confidence):
        taken: set[str] = set()
        renamed = {tag: tag for tag in tag_counts(tags)}
        for keeper, other in pairs:
            if keeper not in taken and other not in taken:
                renamed[other] = keeper
                taken |= {keeper, other}
        tags = _renamed(tags, renamed)
    return tags


def _companions(tags: TagSets, *, min_support: int, confidence: float) -> list[tuple[str, str]]:
    """Return the pairs that are companions, the surest first, each with its more frequent tag first."""
    counts = tag_counts(tags)
    rank = {tag: place for place, tag in enumerate(counts)}
    together: dict[tuple[str, str], int] = defaultdict(int)
    for names in tags:
        frequent = sorted((tag for tag in names if counts[tag] >= min_support), key=rank.__getitem__)
        for pair in combinations(frequent, 2):
            together[pair] += 1
    # The first of a pair is the more frequent one, so its confidence is the smaller of the two.
    sure = {
        pair: both / counts[pair[0]]
        for pair, both in together.items()
        if both >= min_support and both >= confidence * counts[pair[0]]
    }
    return sorted(sure, key=lambda pair: (-sure[pair], rank[pair[0]], rank[pair[1]]))


def _renamed(tags: Sequence[frozenset[str]], names: Mapping[str, str]) -> TagSets:
    return tuple(frozenset(names[tag] for tag in one if tag in names) for one in tags)


def _at_least_1(parameter: str, value: int) -> None:
    if value < 1:
        raise InvalidValueError(parameter, value, ">= 1")


def _similarity(value: float) -> None:
    if not 0 < fraction("similarity", value) <= 1:
        raise InvalidValueError("similarity", value, "above 0 and at most 1")


def _confidence(value: float) -> None:
    if not 0.5 < fraction("confidence", value) <= 1:
        raise InvalidValueError("confidence", value, "above 0.5 and at most 1")
