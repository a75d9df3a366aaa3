"""Tags grouped into a few domains, and each query's share in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.interfaces import Encoder
from mixllm.tags.labelling.clustering import best_clustering
from mixllm.tags.labelling.labels import TagDomain, TagLabels, TagVocabulary
from mixllm.tags.labelling.normalise import TagSets, tag_counts

__all__ = ["MAX_TAGS", "label_queries", "tag_vectors"]

MAX_TAGS = 1000
"""Only so many tags, the most frequent ones, are grouped; the time grows with their square."""

_LEAST_DOMAINS = 2
_COMPANY_DIMENSIONS = 32
_SECOND_NAME_SHARE = 0.5
_TINY = 1e-12


def label_queries(
    query_ids: Sequence[str],
    tags: TagSets,
    *,
    encoder: Encoder,
    max_domains: int = 20,
    source: str = "llm",
    seed: int = 0,
) -> TagLabels:
    """Group normalised tags into domains, and give each query the share of its tags that is in each.

    Tags are clustered by weighted k-means on `tag_vectors`; the number of domains, 2 to `max_domains`, is the one with
    the highest mean silhouette, both weighted by the number of a tag's queries. A domain is named by its most frequent
    tag, and by the second one too where that is at least half as frequent; its description is the list of its tags.
    Domains come largest first.

    Parameters
    ----------
    query_ids
        Identity of each query.
    tags
        Its normalised tags.
    encoder
        Encodes the tags' names.
    max_domains
        Most domains, at least 1.
    source
        What the vocabulary says about its origin.
    seed
        Of the clustering.

    Raises
    ------
    InvalidValueError
        Where lengths differ or `max_domains` is below 1.
    StateError
        Where no query has a tag.
    """
    if len(query_ids) != len(tags):
        raise InvalidValueError("query_ids", f"{len(query_ids)} ids", f"as long as tags ({len(tags)})")
    if max_domains < 1:
        raise InvalidValueError("max_domains", max_domains, ">= 1")
    counts = dict(list(tag_counts(tags).items())[:MAX_TAGS])
    if not counts:
        raise StateError("No tag is left to group. Lower min_count, or tag more queries.")
    names = list(counts)
    frequency = np.array(list(counts.values()), np.float64)
    if len(names) <= min(_LEAST_DOMAINS, max_domains):
        labels = np.arange(len(names))
    else:
        labels = best_clustering(
            tag_vectors(names, tags, encoder=encoder),
            weights=frequency,
            least=min(_LEAST_DOMAINS, max_domains),
            most=min(max_domains, len(names) - 1),
            rng=np.random.default_rng(seed),
        )
    # Names are sorted by frequency, so each group's members are too.
    groups = [[names[row] for row in np.flatnonzero(labels == label)] for label in np.unique(labels)]
    groups.sort(key=lambda members: (-sum(counts[tag] for tag in members), members[0]))
    vocabulary = TagVocabulary(domains=_named(groups, counts), source=source)
    column_of = {tag: column for column, members in enumerate(groups) for tag in members}
    return TagLabels(vocabulary=vocabulary, query_ids=tuple(query_ids), weights=_shares(tags, column_of, len(groups)))


def tag_vectors(names: Sequence[str], tags: TagSets, *, encoder: Encoder) -> NDArray[np.float64]:
    """Return a vector of unit length for each tag: half what its name means, half which tags it comes with.

    The first half is the encoding of the name, less the mean over all names, as static embeddings share a large common
    part. The second half are the leading left singular vectors, times their singular values, of the positive pointwise
    mutual information max(0, log(n · n_ab/(n_a · n_b))) of the tags' appearances in queries.

    Parameters
    ----------
    names
        The T tags.
    tags
        The tags of each query.
    encoder
        Encodes names.

    Returns
    -------
    NDArray
        Shape (T, d + min(T, 32)); a zero row where nothing is known of a tag.
    """
    meanings = np.asarray(encoder.encode_batch(list(names)), np.float64)
    meanings = _unit(meanings - meanings.mean(axis=0))
    place = {name: row for row, name in enumerate(names)}
    together = np.zeros((len(names), len(names)))
    for one in tags:
        rows = [place[tag] for tag in one if tag in place]
        together[np.ix_(rows, rows)] += 1.0
    alone = np.maximum(together.diagonal(), 1.0)
    with np.errstate(divide="ignore"):
        information = np.log(len(tags) * together / (alone[:, None] * alone[None, :]))
    left, values, _ = np.linalg.svd(np.maximum(information, 0.0))
    kept = min(len(names), _COMPANY_DIMENSIONS)
    company = _unit(left[:, :kept] * values[:kept])
    return _unit(np.hstack([meanings, company]))


def _named(groups: list[list[str]], counts: dict[str, int]) -> tuple[TagDomain, ...]:
    names = [
        f"{members[0]}, {members[1]}"
        if len(members) > 1 and counts[members[1]] >= _SECOND_NAME_SHARE * counts[members[0]]
        else members[0]
        for members in groups
    ]
    if len(set(names)) != len(names):
        names = [members[0] for members in groups]
    return tuple(
        TagDomain(name=name, description=", ".join(members), tags=tuple(members))
        for name, members in zip(names, groups, strict=True)
    )


def _shares(tags: TagSets, column_of: dict[str, int], domains: int) -> NDArray[np.float32]:
    weights = np.zeros((len(tags), domains), np.float32)
    for row, one in enumerate(tags):
        known = [column_of[tag] for tag in one if tag in column_of]
        if known:
            weights[row] = np.bincount(known, minlength=domains) / len(known)
    return weights


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(norms > _TINY, vectors / np.maximum(norms, _TINY), 0.0)
