"""Times by length against dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixllm.predictors.latency.shape import ShapePrior, TimeShape, TimeSums

PRIOR = ShapePrior(ttft_s=1.0, tpot_s=0.02)


def planted(
    seed: int, *, calls: int, per_token_in_s: float
) -> tuple[TimeSums, NDArray[np.float64], NDArray[np.float64]]:
    """Return sums of calls, and the same as matrices."""
    rng = np.random.default_rng(seed)
    sums, gram, moment = TimeSums(), np.zeros((3, 3)), np.zeros(3)
    for _ in range(calls):
        x = (1.0, float(rng.integers(0, 3_000)), float(rng.integers(0, 800)))
        time_s = max(0.0, 0.5 + per_token_in_s * x[1] + 0.01 * x[2] + 0.1 * float(rng.normal()))
        weight = PRIOR.weight(first=True, tokens_out=x[2])
        sums.decay(0.99)
        gram, moment = 0.99 * gram, 0.99 * moment
        sums.calls += 1.0
        sums.add(x, time_s, weight)
        gram, moment = gram + weight * np.outer(x, x), moment + weight * time_s * np.array(x)
    return sums, gram, moment


def test_sums_are_those_of_outer_products() -> None:
    sums, gram, moment = planted(0, calls=50, per_token_in_s=0.001)
    assert sums.gram == pytest.approx(gram[np.triu_indices(3)].tolist())
    assert sums.moment == pytest.approx(moment.tolist())
    both = sums + sums
    assert both.gram == pytest.approx([2 * one for one in sums.gram])
    assert both.moment == pytest.approx([2 * one for one in sums.moment])
    assert both.calls == 2 * sums.calls


@given(
    seed=st.integers(0, 99),
    calls=st.integers(0, 40),
    per_token_in_s=st.sampled_from([-0.001, 0.0, 0.001]),
    near=st.sampled_from([None, TimeShape(base_s=3.0, per_token_in_s=0.002, per_token_out_s=0.001)]),
)
def test_the_fit_is_the_best_without_what_would_be_negative(
    seed: int, calls: int, per_token_in_s: float, near: TimeShape | None
) -> None:
    sums, gram, moment = planted(seed, calls=calls, per_token_in_s=per_token_in_s)
    shape = PRIOR.solve(sums, near=near)
    mean = np.array([1.0, 0.0, 0.02] if near is None else [near.base_s, near.per_token_in_s, near.per_token_out_s])
    unit = 1.0 / np.square([1.0, 1.0 / 1000.0, 2 * 0.02])
    strength = 2.0 * (gram.diagonal() + unit) / (sums.calls + 1.0)
    matrix, right = gram + np.diag(strength), moment + strength * mean
    free = [0, 1, 2]
    while True:
        solved = np.linalg.solve(matrix[np.ix_(free, free)], right[free])
        if solved.min() >= 0:
            break
        free = [place for place, time in zip(free, solved, strict=True) if time >= 0]
    expected = np.zeros(3)
    expected[free] = solved
    least = (1e-3, 0.0, 2e-5)
    found = (shape.base_s, shape.per_token_in_s, shape.per_token_out_s)
    assert found == pytest.approx(np.maximum(expected, least).tolist(), rel=1e-7, abs=1e-12)
