"""The bound: a pool that is idle gives everybody the best, one that is full gives it to those who gain most."""

from __future__ import annotations

import numpy as np
import pytest

from mixllm.evaluation.load.fluid import fluid_assignment

QUALITY = np.array([[1.0, 0.9], [1.0, 0.0], [1.0, 0.5], [1.0, 0.4]])
COST = np.tile([0.5, 0.1], (4, 1))
WORK_S = np.tile([2.0, 1.0], (4, 1))


def test_an_idle_pool_gives_everybody_what_is_best() -> None:
    found = fluid_assignment(QUALITY, COST, WORK_S, rate_per_s=0.01, servers=np.array([1, 1]), trade_off=2.0)
    np.testing.assert_allclose(found, [[0, 1], [1, 0], [1, 0], [1, 0]], atol=1e-6)


def test_a_full_llm_serves_those_who_gain_most() -> None:
    found = fluid_assignment(QUALITY, COST, WORK_S, rate_per_s=1.0, servers=np.array([1, 9]), trade_off=100.0)
    np.testing.assert_allclose(found, [[0, 1], [1, 0], [0, 1], [1, 0]], atol=1e-6)


def test_beyond_its_capacity_the_pool_serves_what_it_can() -> None:
    found = fluid_assignment(QUALITY, COST, WORK_S, rate_per_s=3.0, servers=np.array([1, 1]), trade_off=1.0)
    assert (3.0 / 4 * found * WORK_S).sum(axis=0) == pytest.approx([1.0, 1.0])
    assert found.sum() == pytest.approx(4 * 1.5 / 3.0)
