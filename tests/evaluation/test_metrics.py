from __future__ import annotations

import numpy as np
import pytest

from mixllm.evaluation.bands import band_gains
from mixllm.evaluation.contender import Predictions
from mixllm.evaluation.frontier import upper_hull
from mixllm.evaluation.metrics import METRICS, frontier_metrics, realised


def test_the_names_are_those_that_other_programs_read() -> None:
    assert METRICS == (
        "cost_at_97_25",
        "cost_at_100",
        "quality_at_24_18",
        "max_quality",
        "aiq",
        "realised_quality",
        "realised_cost",
    )


def test_metrics_of_a_straight_frontier() -> None:
    frontier = upper_hull([0.2, 1.2], [0.5, 1.5])
    metrics = frontier_metrics(frontier, cheapest=0.2, dearest=1.2, realised_point=(0.9, 0.4))
    assert metrics.cost_at_97_25 == pytest.approx(0.6725)
    assert metrics.cost_at_100 == pytest.approx(0.7)
    assert metrics.quality_at_24_18 == pytest.approx(0.5418)
    assert metrics.max_quality == 1.5
    assert metrics.aiq == pytest.approx(1.0)
    assert (metrics.realised_quality, metrics.realised_cost) == (0.9, 0.4)


def test_what_is_not_reached_is_none() -> None:
    metrics = frontier_metrics(upper_hull([0.3], [0.9]), cheapest=0.3, dearest=0.3, realised_point=(0.9, 0.3))
    assert metrics.cost_at_97_25 is None
    assert metrics.cost_at_100 is None
    assert metrics.quality_at_24_18 is None
    assert metrics.aiq == 0.9, "a pool of one price"


def test_the_first_corner_serves_a_target_below_it() -> None:
    metrics = frontier_metrics(upper_hull([0.1, 1.0], [0.99, 1.0]), cheapest=0.1, dearest=1.0, realised_point=(1, 1))
    assert metrics.cost_at_97_25 == pytest.approx(0.1)


def test_realised_is_what_the_choice_got() -> None:
    predictions = Predictions(quality=np.array([[0.1, 0.9], [0.8, 0.9]]), cost_usd=np.array([[1.0, 2.0]] * 2))
    point = realised(
        predictions,
        trade_off=2.0,
        quality=np.array([[0.0, 1.0], [0.5, 1.0]]),
        cost_usd=np.array([[1.0, 4.0], [1.0, 4.0]]),
        reference=1,
        cost_unit=1.0,
    )
    assert point == (0.75, 0.625)


def test_gains_by_band() -> None:
    ours, theirs = upper_hull([0.1, 1.0], [0.55, 1.0]), upper_hull([0.1, 1.0], [0.5, 1.0])
    cheap, dear = band_gains([ours], [theirs], bands=((0.0, 0.10001), (1.0, 2.0)))
    assert cheap.gain == pytest.approx(0.1, abs=1e-4)
    assert cheap.se is None
    assert dear.gain == 0.0
    (before,) = band_gains([ours, ours], [theirs, theirs], bands=((0.0, 0.05),))
    assert before.gain is None
    (twice,) = band_gains([ours, theirs], [theirs, theirs], bands=((0.1, 0.10001),))
    assert twice.gain == pytest.approx(0.05, abs=1e-4)
    assert twice.se == pytest.approx(0.05, abs=1e-4)
