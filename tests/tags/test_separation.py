"""The loss that separates domains: its value by hand, its gradient by finite differences, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.tags.separation import one_hot, separation_loss

Array = NDArray[np.float64]


def by_definition(embeddings: Array, weights: Array, margin: float) -> tuple[float, float]:
    """Return both terms as their definition has them, in loops."""
    directions = [row / np.linalg.norm(row) for row in embeddings]
    centroids: dict[int, Array] = {}
    for domain in range(weights.shape[1]):
        total = weights[:, domain].sum()
        if total > 0:
            mean = sum(w * x for w, x in zip(weights[:, domain], directions, strict=True)) / total
            centroids[domain] = mean / np.linalg.norm(mean)
    distances = [
        weights[row, domain] * (1 - directions[row] @ centroid)
        for row in range(len(embeddings))
        for domain, centroid in centroids.items()
    ]
    pairs = [(a, b) for a in centroids for b in centroids if a < b]
    excess = [max(0.0, float(centroids[a] @ centroids[b]) - margin) for a, b in pairs]
    return sum(distances) / weights.sum(), sum(excess) / max(1, len(pairs))


def case(
    seed: int, *, queries: int = 7, dimension: int = 5, domains: int = 3, soft: bool = True
) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(queries, dimension)) * rng.uniform(0.5, 4.0, size=(queries, 1))
    weights = (
        rng.dirichlet(np.ones(domains), size=queries) if soft else np.eye(domains)[rng.integers(domains, size=queries)]
    )
    return embeddings, weights


@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
@pytest.mark.parametrize("margin", [-1.0, -0.3, 0.0, 0.4, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_value_is_that_of_the_definition(seed: int, margin: float, soft: bool) -> None:
    embeddings, weights = case(seed, soft=soft)
    loss = separation_loss(embeddings, weights, margin=margin)
    assert (loss.intra, loss.inter) == pytest.approx(by_definition(embeddings, weights, margin), abs=1e-12)
    assert loss.value == loss.intra + loss.inter


@given(
    seed=st.integers(0, 10_000),
    queries=st.integers(1, 9),
    dimension=st.integers(1, 6),
    domains=st.integers(1, 5),
    soft=st.booleans(),
    margin=st.floats(-1, 1),
)
def test_terms_stay_in_their_range(
    seed: int, queries: int, dimension: int, domains: int, soft: bool, margin: float
) -> None:
    embeddings, weights = case(seed, queries=queries, dimension=dimension, domains=domains, soft=soft)
    loss = separation_loss(embeddings, weights, margin=margin)
    assert 0.0 <= loss.intra <= 1.0
    assert 0.0 <= loss.inter <= 2.0
    assert loss.gradient.shape == embeddings.shape
    assert np.isfinite(loss.gradient).all()


@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
@pytest.mark.parametrize(("margin", "inter_weight"), [(-1.0, 1.0), (0.1, 1.0), (-0.5, 3.0), (-1.0, 0.0)])
@pytest.mark.parametrize(("queries", "dimension", "domains"), [(7, 5, 3), (4, 2, 2), (5, 3, 1), (12, 8, 6)])
def test_the_gradient_is_that_of_finite_differences(
    queries: int, dimension: int, domains: int, margin: float, inter_weight: float, soft: bool
) -> None:
    embeddings, weights = case(5, queries=queries, dimension=dimension, domains=domains, soft=soft)
    settings = {"margin": margin, "inter_weight": inter_weight}
    loss = separation_loss(embeddings, weights, **settings)
    assert loss.value == loss.intra + inter_weight * loss.inter
    step = 1e-6
    for place in np.ndindex(*embeddings.shape):
        moved = [embeddings.copy(), embeddings.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        up, down = (separation_loss(one, weights, **settings).value for one in moved)
        assert loss.gradient[place] == pytest.approx((up - down) / (2 * step), abs=1e-7)


def test_only_directions_count() -> None:
    embeddings, weights = case(1)
    scaled = separation_loss(embeddings * 100, weights)
    assert scaled.value == pytest.approx(separation_loss(embeddings, weights).value)
    np.testing.assert_allclose(scaled.gradient * 100, separation_loss(embeddings, weights).gradient)
    np.testing.assert_allclose((scaled.gradient * embeddings).sum(axis=1), 0.0, atol=1e-12)


def test_descending_separates() -> None:
    embeddings, weights = case(3, queries=30, dimension=6, domains=4, soft=False)
    first = separation_loss(embeddings, weights)
    for _ in range(300):
        embeddings = embeddings - 3.0 * separation_loss(embeddings, weights).gradient
    last = separation_loss(embeddings, weights)
    assert last.intra < 0.5 * first.intra
    assert last.inter < 0.05


def test_queries_and_domains_without_weight_do_not_count() -> None:
    embeddings, weights = case(2, soft=False)
    more = np.vstack([embeddings, np.ones((2, 5))])
    wider = np.hstack([np.vstack([weights, np.zeros((2, 3))]), np.zeros((9, 2))])
    plain, padded = separation_loss(embeddings, weights), separation_loss(more, wider)
    assert padded.value == pytest.approx(plain.value)
    np.testing.assert_allclose(padded.gradient[:7], plain.gradient)
    assert not padded.gradient[7:].any()


def test_what_has_no_direction_does_not_count() -> None:
    embeddings, weights = case(4, soft=False)
    with_zero = separation_loss(np.vstack([embeddings, np.zeros(5)]), np.vstack([weights, weights[0]]))
    assert with_zero.value == pytest.approx(separation_loss(embeddings, weights).value)
    assert not with_zero.gradient[-1].any()
    opposite = separation_loss(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]), one_hot(["a", "a", "b"])[1])
    assert opposite.intra == pytest.approx(2 / 3)
    assert opposite.inter == 0.0
    assert np.isfinite(opposite.gradient).all()


@pytest.mark.parametrize(("queries", "domains"), [(0, 3), (4, 0)])
def test_nothing_gives_zero(queries: int, domains: int) -> None:
    loss = separation_loss(np.ones((queries, 3)), np.ones((queries, domains)))
    assert loss.value == 0.0
    assert loss.gradient.shape == (queries, 3)
    assert not loss.gradient.any()


def test_float32_is_computed_in_float64() -> None:
    embeddings, weights = case(6)
    loss = separation_loss(embeddings.astype(np.float32), weights.astype(np.float32))
    assert loss.gradient.dtype == np.float64
    assert loss.value == pytest.approx(separation_loss(embeddings, weights).value, abs=1e-6)


@pytest.mark.parametrize(
    ("parameter", "changed"),
    [
        ("embeddings", {"embeddings": np.ones(3)}),
        ("embeddings", {"embeddings": np.full((3, 2), np.nan)}),
        ("weights", {"weights": np.ones(3)}),
        ("weights", {"weights": np.ones((2, 2))}),
        ("weights", {"weights": -np.ones((3, 2))}),
        ("weights", {"weights": np.full((3, 2), np.inf)}),
        ("margin", {"margin": 1.1}),
        ("margin", {"margin": float("nan")}),
        ("inter_weight", {"inter_weight": -0.1}),
    ],
)
def test_bad_input_is_refused(parameter: str, changed: dict[str, Any]) -> None:
    good: dict[str, Any] = {"embeddings": np.ones((3, 2)), "weights": np.ones((3, 2))}
    with pytest.raises(InvalidValueError) as caught:
        separation_loss(**(good | changed))
    assert caught.value.parameter == parameter


def test_labels_of_two_dimensions_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="one label a query"):
        one_hot([["a", "b"], ["c", "d"]])
