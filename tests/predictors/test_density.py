"""The sample of known queries and the density: order, duplicates, merging, range, far points, float types."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.predictors import FrozenDensity, QuerySample

TAGS, EMBEDDING = 3, 5
DIMENSION = TAGS + EMBEDDING + 1
Rows = NDArray[np.float32]


def queries(rng: np.random.Generator, count: int, *, undecided: float = 0.05, shift: float = 0.0) -> Rows:
    """Return queries that are surely of one tag each, around the tag's own place."""
    tag = rng.integers(TAGS, size=count)
    shares = np.full((count, TAGS), undecided / TAGS) + rng.uniform(0.0, 0.01, (count, TAGS))
    shares[np.arange(count), tag] += 1.0 - undecided
    shares /= shares.sum(axis=1, keepdims=True)
    points = rng.normal(0.0, 0.1, (count, EMBEDDING)) + shift
    points[np.arange(count), tag] += 0.5
    return np.hstack([shares, points, np.ones((count, 1))]).astype(np.float32)


def sample_of(rows: Rows, *, size: int = 64) -> QuerySample:
    made = QuerySample(dimension=DIMENSION, size=size)
    made.add_many(rows)
    return made


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, count=st.integers(0, 200), size=st.integers(1, 100))
def test_neither_order_nor_repetition_changes_the_sample(seed: int, count: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    rows = queries(rng, count)
    once = sample_of(rows, size=size)
    shuffled = rows[rng.permutation(np.repeat(np.arange(count), 2))] if count else rows
    again = QuerySample(dimension=DIMENSION, size=size)
    for row in shuffled:
        again.add(row)
    np.testing.assert_array_equal(once.rows(), again.rows())
    assert len(once) == min(count, size)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, cut=st.integers(0, 200), shared=st.integers(0, 50))
def test_two_samples_merged_are_one_of_the_union(seed: int, cut: int, shared: int) -> None:
    rows = queries(np.random.default_rng(seed), 200)
    one, other = sample_of(rows[:cut]), sample_of(rows[max(0, cut - shared) :])
    whole = sample_of(rows)
    one.merge(other)
    np.testing.assert_array_equal(one.rows(), whole.rows())
    np.testing.assert_array_equal(
        FrozenDensity(rows=one.rows(), tags=TAGS).scores(rows), FrozenDensity(rows=whole.rows(), tags=TAGS).scores(rows)
    )


def test_every_query_is_as_likely_to_be_in_the_sample() -> None:
    rng = np.random.default_rng(3)
    rows = queries(rng, 4_000)
    rows[:1_000, -2] = 7.0  # the first quarter, marked
    share = (sample_of(rows, size=1_000).rows()[:, -2] == 7.0).mean()
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 1_000)


def test_changes_tell_of_changes_alone() -> None:
    rows = queries(np.random.default_rng(0), 10)
    sample = sample_of(rows)
    before = sample.changes
    assert sample.add_many(rows) == 0
    assert not sample.add(rows[3])
    sample.merge(sample_of(rows))
    assert sample.changes == before
    negative_zero = rows[0].copy()
    negative_zero[0], rows[0, 0] = -0.0, 0.0
    assert sample.add(rows[0])
    assert not sample.add(negative_zero)


def test_a_state_comes_back_and_a_damaged_one_does_not() -> None:
    sample = sample_of(queries(np.random.default_rng(1), 300))
    kept = {name: array.astype(np.float64) for name, array in sample.state().items()}
    fresh = QuerySample(dimension=DIMENSION, size=64)
    fresh.load_state(kept)
    np.testing.assert_array_equal(fresh.rows(), sample.rows())
    more = queries(np.random.default_rng(2), 50)
    assert fresh.add_many(more) == sample.add_many(more)
    np.testing.assert_array_equal(fresh.rows(), sample.rows())
    for wrong in (np.ones((3, 2)), np.full((2, DIMENSION), np.nan), np.ones((65, DIMENSION))):
        with pytest.raises(StateError):
            fresh.load_state({"rows": wrong})
    np.testing.assert_array_equal(fresh.rows(), sample.rows())
    fresh.load_state({})
    assert len(fresh) == 0


def test_what_cannot_be_a_query_is_refused() -> None:
    sample = sample_of(queries(np.random.default_rng(1), 5))
    for wrong in (np.ones(3), np.full(DIMENSION, np.inf), np.full(DIMENSION, 1e4)):
        with pytest.raises(InvalidValueError, match="features"):
            sample.add(wrong)
    with pytest.raises(InvalidValueError, match="other"):
        sample.merge(QuerySample(dimension=DIMENSION, size=65))
    with pytest.raises(InvalidValueError, match="dimension, size"):
        QuerySample(dimension=DIMENSION, size=0)
    with pytest.raises(InvalidValueError, match="rows"):
        FrozenDensity(rows=np.ones((5, 3)), tags=2)
    assert len(sample) == 5


@pytest.mark.parametrize("count", [0, 1, 100])
def test_little_data_calls_nothing_outside(count: int) -> None:
    density = FrozenDensity(rows=queries(np.random.default_rng(0), count), tags=TAGS)
    assert density.score(np.full(DIMENSION, 900.0)) == 0.0


def test_the_score_fades_in() -> None:
    far = queries(np.random.default_rng(1), 1, shift=30.0)[0]
    weights = [FrozenDensity(rows=queries(np.random.default_rng(0), n), tags=TAGS).score(far) for n in (150, 200, 300)]
    assert weights == pytest.approx([0.25, 0.5, 1.0], abs=1e-6)


def test_inside_is_near_0_and_elsewhere_near_1() -> None:
    rng = np.random.default_rng(5)
    density = FrozenDensity(rows=queries(rng, 1_024), tags=TAGS)
    inside = density.scores(queries(rng, 2_000))
    assert (inside > 0.5).mean() < 0.02
    assert inside.mean() < 0.05
    assert density.scores(queries(rng, 200, shift=2.0)).min() > 0.99  # far from the places of all tags
    assert density.scores(queries(rng, 200, undecided=1.0)).mean() > 0.9  # of no tag


def test_a_domain_that_was_learned_is_not_outside_any_more() -> None:
    rng = np.random.default_rng(6)
    known, new = queries(rng, 900), queries(rng, 400, shift=2.0)
    before = FrozenDensity(rows=known, tags=TAGS).scores(new[200:])
    after = FrozenDensity(rows=np.vstack([known, new[:100]]), tags=TAGS).scores(new[200:])
    assert before.min() > 0.9
    assert after.mean() < 0.4


DENSITY = FrozenDensity(rows=queries(np.random.default_rng(7), 500), tags=TAGS)


@settings(max_examples=200, deadline=None)
@given(values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=DIMENSION, max_size=DIMENSION))
def test_scores_are_between_0_and_1_whatever_comes(values: list[float]) -> None:
    score = DENSITY.score(np.array(values))
    assert 0.0 <= score <= 1.0


@settings(max_examples=50, deadline=None)
@given(seed=seeds, shift=st.floats(-1.0, 1.0))
def test_both_float_types_agree(seed: int, shift: float) -> None:
    rows = queries(np.random.default_rng(seed), 20, shift=shift)
    np.testing.assert_array_equal(DENSITY.scores(rows), DENSITY.scores(rows.astype(np.float64)))
    wide = FrozenDensity(rows=queries(np.random.default_rng(7), 500).astype(np.float64), tags=TAGS)
    np.testing.assert_allclose(wide.scores(rows), DENSITY.scores(rows), atol=1e-4)


def test_a_text_without_tokens_has_a_score() -> None:
    blank = np.array([1 / TAGS] * TAGS + [0.0] * EMBEDDING + [1.0], np.float32)
    assert 0.0 <= DENSITY.score(blank) <= 1.0
    same = np.tile(blank, (400, 1))
    assert FrozenDensity(rows=same, tags=TAGS).score(blank) <= 0.5  # nothing but such texts was seen
    assert FrozenDensity(rows=np.zeros((400, DIMENSION)), tags=TAGS).score(np.zeros(DIMENSION)) <= 0.5
