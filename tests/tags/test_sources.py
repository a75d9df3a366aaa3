"""Labels out of a column, and out of clusters."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.tags import PrototypeTagger
from mixllm.tags.labelling import TagLabels
from mixllm.tags.sources import labels_from_clusters, labels_from_column

AXES = np.eye(4, 6, dtype=np.float32)
TAGGER = PrototypeTagger(tags=["east", "north", "up", "later"], prototypes=AXES)


def blobs(count: int, *, kinds: int = 3, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return unit vectors around the first axes, and which axis each is near to."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(kinds, size=count)
    x = AXES[kind] + 0.1 * rng.normal(size=(count, 6)).astype(np.float32)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), kind


def clustered(x: NDArray[np.float32], clusters: int, *, seed: int = 0) -> TagLabels:
    ids = [f"q{row}" for row in range(len(x))]
    return labels_from_clusters(ids, x, clusters=clusters, tagger=TAGGER, rng=np.random.default_rng(seed))


def test_a_column_names_its_values() -> None:
    labels = labels_from_column(["a", "b", "c", "d"], ["law", "", "math", "law"], source="task")
    assert labels.vocabulary.names == ("law", "math")
    assert labels.vocabulary.source == "column:task"
    assert labels.query_ids == ("a", "b", "c", "d")
    assert labels.weights.tolist() == [[1, 0], [0, 0], [0, 1], [1, 0]]
    assert labels.tagged.tolist() == [True, False, True, True]


def test_the_same_values_are_the_same_vocabulary_in_any_order() -> None:
    one = labels_from_column(["a", "b"], ["x", "y"], source="task")
    other = labels_from_column(["a", "b"], ["y", "x"], source="task")
    assert one.vocabulary.version == other.vocabulary.version
    assert one.vocabulary.version != labels_from_column(["a", "b"], ["x", "y"], source="topic").vocabulary.version


def test_a_column_without_a_value_is_refused() -> None:
    for values in ([], ["", ""]):
        with pytest.raises(InvalidValueError, match="one label or more"):
            labels_from_column(["a", "b"][: len(values)], values, source="task")


def test_clusters_are_found_and_named() -> None:
    x, kind = blobs(90)
    labels = clustered(x, 3)
    assert sorted(labels.vocabulary.names) == ["east", "north", "up"]
    assert labels.vocabulary.source == "clusters"
    names = [labels.vocabulary.names[column] for column in labels.weights.argmax(axis=1)]
    assert names == [("east", "north", "up")[one] for one in kind]
    assert labels.weights.sum(axis=1).tolist() == [1.0] * 90


def test_names_that_come_again_are_numbered() -> None:
    x, _ = blobs(60, kinds=1)
    labels = clustered(x, 3)
    assert labels.vocabulary.names == ("east", "east 2", "east 3")


def test_clusters_depend_on_the_seed_alone() -> None:
    x, _ = blobs(80, seed=3)
    assert np.array_equal(clustered(x, 6, seed=4).weights, clustered(x, 6, seed=4).weights)


def test_there_are_no_empty_clusters() -> None:
    x, _ = blobs(5)
    labels = clustered(x, 12)
    assert len(labels.vocabulary.names) <= 5
    assert (labels.sizes() > 0).all()
    same = clustered(np.tile(AXES[:1], (7, 1)), 4)
    assert same.weights.shape == (7, 1)


def test_without_a_cluster_there_is_nothing() -> None:
    with pytest.raises(InvalidValueError, match="clusters must be >= 1"):
        clustered(AXES, 0)
    with pytest.raises(InvalidValueError, match="one query or more"):
        clustered(AXES[:0], 3)
