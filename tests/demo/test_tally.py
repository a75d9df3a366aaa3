"""The demo's arithmetic, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mixllm.demo.tally import Tally
from mixllm.logs import RoutingLog


def _log() -> RoutingLog:
    return RoutingLog(
        name="two",
        query_ids=("a", "b", "c"),
        prompts=("A", "B", "C"),
        systems=(None, None, None),
        labels={},
        llms=("cheap", "dear"),
        quality=np.array([[1.0, 1.0], [0.0, 1.0], [0.5, 1.0]]),
        cost_usd=np.array([[0.1, 1.0], [0.2, 2.0], [0.3, 3.0]]),
        tokens_in=np.full((3, 2), 10.0),
        tokens_out=np.full((3, 2), 20.0),
        latency_s=np.full((3, 2), 1.0),
        ttft_s=np.full((3, 2), 0.1),
        answers=None,
    )


def _tally() -> Tally:
    tally = Tally(log=_log(), reference="dear", trade_off=1.0)
    tally.add(row=0, llm="cheap", latency_s=0.5, overhead_ms=1.0)
    tally.add(row=1, llm="dear", latency_s=2.0, overhead_ms=2.0)
    tally.add(row=2, llm="cheap", latency_s=0.7, overhead_ms=3.0)
    return tally


def test_ratios_are_to_the_reference_on_the_same_queries() -> None:
    ratios = _tally().ratios()
    assert ratios.quality_ratio == pytest.approx((1.0 + 1.0 + 0.5) / 3.0)
    assert ratios.cost_ratio == pytest.approx((0.1 + 2.0 + 0.3) / 6.0)


def test_thirds_cover_the_run_in_order() -> None:
    result = _tally().result(seed=3, seconds=1.0)
    assert [third.quality_ratio for third in result.thirds] == [1.0, 1.0, 0.5]
    assert [third.cost_ratio for third in result.thirds] == pytest.approx([0.1, 1.0, 0.1])
    assert result.queries == 3
    assert result.seed == 3


def test_per_llm_adds_up() -> None:
    shares = _tally().per_llm()
    assert shares["cheap"].share == pytest.approx(2 / 3)
    assert shares["cheap"].quality == pytest.approx(0.75)
    assert shares["cheap"].cost_usd == pytest.approx(0.4)
    assert shares["cheap"].latency_s == pytest.approx(0.6)
    assert sum(share.cost_usd for share in shares.values()) == pytest.approx(_tally().cost_usd())


def test_an_llm_that_was_never_asked_has_no_quality() -> None:
    tally = Tally(log=_log(), reference="dear", trade_off=1.0)
    tally.add(row=0, llm="dear", latency_s=1.0, overhead_ms=1.0)
    assert tally.per_llm()["cheap"].quality is None
    assert tally.per_llm()["cheap"].share == 0.0


def test_regret_is_zero_for_the_best_choices_and_positive_otherwise() -> None:
    best = Tally(log=_log(), reference="dear", trade_off=1.0)
    best.add(row=0, llm="cheap", latency_s=1.0, overhead_ms=1.0)
    assert best.regret_per_query() == (0.0,)
    worse = Tally(log=_log(), reference="dear", trade_off=1.0)
    worse.add(row=0, llm="dear", latency_s=1.0, overhead_ms=1.0)
    # λ = 1 weighs both by a half; the mean cost of the reference is 2.
    assert worse.regret_per_query()[0] == pytest.approx(0.5 * (1.0 - 0.1) / 2.0)


def test_overhead_percentiles() -> None:
    overhead = _tally().overhead_ms()
    assert overhead.p50 == pytest.approx(2.0)
    assert overhead.p99 == pytest.approx(2.98)


def test_an_empty_run_has_a_result() -> None:
    result = Tally(log=_log(), reference="dear", trade_off=1.0).result(seed=0, seconds=0.0)
    assert result.queries == 0
    assert result.quality_ratio == 1.0
    assert result.thirds == ()
