"""Labels to learn tags from: a column of the log, or clusters of the queries themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray, Tagger
from mixllm.tags.labelling import TagDomain, TagLabels, TagVocabulary
from mixllm.tags.separation import one_hot

__all__ = ["labels_from_clusters", "labels_from_column"]

_ROUNDS = 25
_RESTARTS = 4
_NONE = "none"


def labels_from_column(query_ids: Sequence[str], values: Sequence[str], *, source: str) -> TagLabels:
    """Return labels where each query's domain is its value in a column of the log; an empty value is no label.

    Parameters
    ----------
    query_ids, values
        Ids and values, length n.
    source
        Name of the column.

    Raises
    ------
    InvalidValueError
        Where every value is empty.

    Examples
    --------
    >>> labels = labels_from_column(["1", "2", "3"], ["math", "law", ""], source="task")
    >>> labels.vocabulary.names, labels.weights.tolist()
    (('law', 'math'), [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    """
    if not any(values):
        raise InvalidValueError("values", "no label", "one label or more; take another column, or clusters")
    names, known = one_hot([value for value in values if value])
    weights = np.zeros((len(values), len(names)), np.float32)
    weights[[row for row, value in enumerate(values) if value]] = known
    domains = tuple(TagDomain(name=name, description=name, tags=(name,)) for name in names)
    return TagLabels(
        vocabulary=TagVocabulary(domains=domains, source=f"column:{source}"),
        query_ids=tuple(query_ids),
        weights=weights,
    )


def labels_from_clusters(
    query_ids: Sequence[str],
    encodings: FloatArray,
    *,
    clusters: int,
    tagger: Tagger,
    rng: np.random.Generator,
) -> TagLabels:
    """Return labels out of clusters of the queries, named by the training-free tagger.

    Parameters
    ----------
    query_ids
        Ids, length n.
    encodings
        Their vectors, shape (n, d).
    clusters
        Most clusters, >= 1; empty ones are left out.
    tagger
        Gives each cluster the name of the tag that its queries have most of; a name that comes again is numbered.
    rng
        Where the clusters start.

    Raises
    ------
    InvalidValueError
        Where there is no query, a shape does not fit, or `clusters` is below 1.

    Notes
    -----
    k-means on directions from the common mean (spherical k-means, Dhillon & Modha 2001), k-means++ starts, the best of
    four runs.
    """
    if clusters < 1:
        raise InvalidValueError("clusters", clusters, ">= 1")
    x = np.asarray(encodings, np.float32)
    if x.ndim != 2 or len(x) != len(query_ids) or not len(x):
        raise InvalidValueError("encodings", x.shape, f"shape ({len(query_ids)}, d), one query or more")
    directions = x - x.mean(axis=0)
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    runs = [_spherical(directions, min(clusters, len(x)), rng) for _ in range(_RESTARTS)]
    _, members = max(runs, key=lambda run: run[0])
    _, place = np.unique(members, return_inverse=True)
    tags = np.array([tagger.tag(row) for row in x])
    domains = _named([tags[place == cluster].mean(axis=0) for cluster in range(place.max() + 1)], tagger.tags)
    weights = np.zeros((len(x), len(domains)), np.float32)
    weights[np.arange(len(x)), place] = 1.0
    return TagLabels(
        vocabulary=TagVocabulary(domains=domains, source="clusters"), query_ids=tuple(query_ids), weights=weights
    )


def _named(profiles: Sequence[NDArray[np.floating]], names: Sequence[str]) -> tuple[TagDomain, ...]:
    seen: Counter[str] = Counter()
    domains = []
    for profile in profiles:
        name = names[int(profile.argmax())] if profile.size else _NONE
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name} {seen[name]}"
        domains.append(TagDomain(name=unique, description=name, tags=(unique,)))
    return tuple(domains)


def _spherical(
    directions: NDArray[np.float32], clusters: int, rng: np.random.Generator
) -> tuple[float, NDArray[np.intp]]:
    centres = _starts(directions, clusters, rng)
    members = np.zeros(len(directions), np.intp)
    for _ in range(_ROUNDS):
        similarity = directions @ centres.T
        members = similarity.argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, members, directions)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        moved = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres)
        if np.allclose(moved, centres, atol=1e-6):
            break
        centres = moved
    fit = float((directions @ centres.T).max(axis=1).mean())
    return fit, members


def _starts(directions: NDArray[np.float32], clusters: int, rng: np.random.Generator) -> NDArray[np.float32]:
    chosen = [int(rng.integers(len(directions)))]
    distance = 1.0 - directions @ directions[chosen[0]]
    for _ in range(clusters - 1):
        weights = np.maximum(distance, 0.0).astype(np.float64)
        total = weights.sum()
        if total <= 0:
            break
        chosen.append(int(rng.choice(len(directions), p=weights / total)))
        distance = np.minimum(distance, 1.0 - directions @ directions[chosen[-1]])
    return directions[chosen].copy()
