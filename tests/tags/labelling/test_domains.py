from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.tags.labelling.llm_server import DOMAINS, planted_queries, tags_of

from mixllm.encoders import HashingEncoder
from mixllm.errors import InvalidValueError, StateError
from mixllm.tags.labelling.clustering import best_clustering, k_means, silhouette
from mixllm.tags.labelling.domains import label_queries, tag_vectors
from mixllm.tags.labelling.normalise import normalise

ENCODER = HashingEncoder(dimension=64)


def rand_index(found: list[int], planted: list[str]) -> float:
    """Return the adjusted Rand index of two partitions."""
    cells = np.zeros((max(found) + 1, len(set(planted))))
    names = sorted(set(planted))
    for one, other in zip(found, planted, strict=True):
        cells[one, names.index(other)] += 1

    def pairs(counts: NDArray[np.float64]) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, rows, columns = pairs(cells), pairs(cells.sum(axis=1)), pairs(cells.sum(axis=0))
    chance = rows * columns / pairs(np.array([len(found)]))
    return (both - chance) / ((rows + columns) / 2 - chance)


def test_planted_domains_are_found() -> None:
    ids, queries, planted = planted_queries(200, seed=3)
    tags = normalise(tuple(frozenset(tags_of(query)) for query in queries), encoder=ENCODER)
    labels = label_queries(ids, tags, encoder=ENCODER)
    assert len(labels.vocabulary.domains) == 4
    assert rand_index(labels.weights.argmax(axis=1).tolist(), planted) > 0.95
    found = {frozenset(domain.tags) for domain in labels.vocabulary.domains}
    assert found == {frozenset(words.values()) for words in DOMAINS.values()}
    assert labels.tagged.all()
    assert list(labels.sizes()) == sorted(labels.sizes(), reverse=True)


def test_noisy_tags_are_grouped_nearly_as_well() -> None:
    rng = np.random.default_rng(1)
    ids, queries, planted = planted_queries(300, seed=4)
    every = sorted({tag for words in DOMAINS.values() for tag in words.values()})
    strays = [frozenset({str(rng.choice(every))}) if rng.random() < 0.2 else frozenset[str]() for _ in queries]
    tags = tuple(stray.union(tags_of(query)) for stray, query in zip(strays, queries, strict=True))
    labels = label_queries(ids, tags, encoder=ENCODER)
    assert rand_index(labels.weights.argmax(axis=1).tolist(), planted) > 0.8


def test_shares_names_and_untagged_queries() -> None:
    tags = (*(frozenset({"a", "b"}),) * 6, *(frozenset({"c", "d"}),) * 4, frozenset({"a", "c"}), frozenset[str]())
    labels = label_queries([str(row) for row in range(12)], tags, encoder=ENCODER)
    assert labels.vocabulary.names == ("a, b", "c, d")
    assert labels.vocabulary.domains[0].description == "a, b"
    assert labels.weights[[0, 6, 10, 11]].tolist() == [[1, 0], [0, 1], [0.5, 0.5], [0, 0]]
    assert labels.vocabulary.source == "llm"


def test_the_order_of_queries_does_not_matter_and_the_seed_repeats() -> None:
    ids, queries, _ = planted_queries(60, seed=3)
    tags = tuple(frozenset(tags_of(query)) for query in queries)
    labels = label_queries(ids, tags, encoder=ENCODER, seed=5)
    turned = label_queries(ids[::-1], tags[::-1], encoder=ENCODER, seed=5)
    assert labels.vocabulary == turned.vocabulary
    assert np.array_equal(labels.weights, turned.weights[::-1])


@pytest.mark.parametrize("most", [1, 2, 3, 20])
def test_no_more_domains_than_asked_for(most: int) -> None:
    ids, queries, _ = planted_queries(60)
    tags = tuple(frozenset(tags_of(query)) for query in queries)
    labels = label_queries(ids, tags, encoder=ENCODER, max_domains=most)
    assert 1 <= len(labels.vocabulary.domains) <= most
    assert labels.weights.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize(("tags", "domains"), [(["a"], 1), (["a", "b"], 2), (["a", "b", "c"], 2)])
def test_few_tags_are_few_domains(tags: list[str], domains: int) -> None:
    labels = label_queries(tags, tuple(frozenset({tag}) for tag in tags), encoder=ENCODER)
    assert len(labels.vocabulary.domains) == domains


def test_one_tag_a_query_is_grouped_by_meaning_alone() -> None:
    names = ["solve an equation", "solve a sum", "solve it", "contract law", "tenancy law", "criminal law"]
    tags = tuple(frozenset({name}) for name in names for _ in range(3))
    labels = label_queries([str(row) for row in range(18)], tags, encoder=ENCODER, max_domains=2)
    assert {frozenset(domain.tags) for domain in labels.vocabulary.domains} == {
        frozenset(names[:3]),
        frozenset(names[3:]),
    }


def test_vectors_are_of_unit_length_and_company_is_near() -> None:
    names = ["a", "b", "c", "d"]
    tags = (*(frozenset({"a", "b"}),) * 5, *(frozenset({"c", "d"}),) * 5)
    vectors = tag_vectors(names, tags, encoder=ENCODER)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    near, far = vectors[0] @ vectors[1], max(vectors[0] @ vectors[2], vectors[0] @ vectors[3])
    assert near > far + 0.3


def test_bad_input_is_refused() -> None:
    with pytest.raises(StateError, match="No tag is left to group"):
        label_queries(["a"], (frozenset(),), encoder=ENCODER)
    with pytest.raises(InvalidValueError, match="as long as tags"):
        label_queries(["a"], (), encoder=ENCODER)
    with pytest.raises(InvalidValueError, match="max_domains"):
        label_queries(["a"], (frozenset({"x"}),), encoder=ENCODER, max_domains=0)


def blobs(clusters: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(8, 2)) * 0.1 + (10 * place, place % 2) for place in range(clusters)])


@pytest.mark.parametrize("clusters", [2, 3, 5])
def test_the_silhouette_finds_how_many_clusters_there_are(clusters: int) -> None:
    points = blobs(clusters)
    labels = best_clustering(points, weights=np.ones(len(points)), least=2, most=8, rng=np.random.default_rng(1))
    assert rand_index(labels.tolist(), [str(row // 8) for row in range(len(points))]) == pytest.approx(1)


def test_the_silhouette_by_its_definition() -> None:
    points = blobs(2)[:12]
    labels = np.array([0] * 8 + [1] * 4, np.intp)
    distances = np.linalg.norm(points[:, None] - points[None, :], axis=2)
    scores = []
    for row, label in enumerate(labels):
        others = [place for place in np.flatnonzero(labels == label) if place != row]
        within = distances[row, others].mean()
        nearest = distances[row, labels != label].mean()
        scores.append((nearest - within) / max(nearest, within))
    assert silhouette(distances, labels=labels, weights=np.ones(12)) == pytest.approx(np.mean(scores))
    assert silhouette(distances, labels=np.zeros(12, np.intp), weights=np.ones(12)) == 0.0
    alone = silhouette(distances, labels=np.arange(12), weights=np.ones(12))
    assert alone == 0.0


def test_equal_points_and_weights() -> None:
    points = np.ones((4, 2))
    rng = np.random.default_rng(0)
    assert set(k_means(points, weights=np.ones(4), clusters=3, rng=rng).labels.tolist()) == {0}
    found = k_means(np.array([[0.0], [1.0]]), weights=np.array([3.0, 1.0]), clusters=1, rng=rng)
    assert found.inertia == pytest.approx(3 * 0.25**2 + 0.75**2)
    for clusters in (0, 5):
        with pytest.raises(InvalidValueError, match="clusters must be between 1 and 4"):
            k_means(points, weights=np.ones(4), clusters=clusters, rng=rng)
