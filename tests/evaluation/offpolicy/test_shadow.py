"""A logged shadow as a target: its value against the planted truth, its agreement, and a refusal without support."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.offpolicy.routed import TRUE_QUALITY, answer, filled_store, router_on
from tests.small_router import question

from mixllm.config import PolicyConfig, ShadowConfig
from mixllm.decision import GreedyPolicy
from mixllm.errors import InvalidValueError, LogError, NoSupportError
from mixllm.evaluation.offpolicy import (
    LoggedShadow,
    Settings,
    TargetPolicy,
    decisions_of_store,
    shadow_of_store,
    what_if,
)
from mixllm.store import MemoryStore, SQLiteStore

SHADOWS = (
    ShadowConfig(name="greedy at 20", trade_off=20.0, policy=PolicyConfig(name="greedy")),
    ShadowConfig(name="curious", policy=PolicyConfig(name="squarecb", gap_weight=0.5)),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteStore]:
    path = filled_store(tmp_path_factory.mktemp("shadow") / "mixllm.db", decisions=600, shadow=SHADOWS)
    opened = SQLiteStore(path=path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def greedy(store: SQLiteStore) -> LoggedShadow:
    return shadow_of_store(store, "greedy at 20")


def test_its_value_is_the_planted_one(greedy: LoggedShadow) -> None:
    shares = greedy.probabilities.mean(axis=0)
    planted = sum(TRUE_QUALITY[llm] * share for llm, share in zip(greedy.log.llms, shares, strict=True))
    report = what_if(greedy.log, greedy, settings=Settings(level=0.99), rng=np.random.default_rng(0))
    assert (report.policy, report.trade_off, report.decisions) == ("greedy at 20", None, 600)
    assert set(report.quality.estimates) == {"ips", "snips", "dr"}
    for name, found in report.quality.estimates.items():
        assert found.target.low < planted < found.target.high, name
    logged = sum(TRUE_QUALITY[llm] * share.logged_share for llm, share in report.llms.items())
    assert report.quality.logged.low < logged < report.quality.logged.high
    assert planted > logged + 0.03, "the two differ at all"


def test_it_logged_what_the_same_policy_recomputes(store: SQLiteStore, greedy: LoggedShadow) -> None:
    log = decisions_of_store(store)
    again = TargetPolicy(policy=GreedyPolicy(), trade_off=20.0).propensities(log)
    columns = [log.llms.index(llm) for llm in greedy.log.llms]
    np.testing.assert_allclose(greedy.probabilities, again[:, columns], atol=1e-9)
    np.testing.assert_array_equal(greedy.trade_offs(greedy.log), np.full(600, 20.0))
    with pytest.raises(InvalidValueError, match="the one that the shadow was logged in"):
        greedy.propensities(log)


def test_its_agreement_needs_no_outcomes_of_its_own(store: SQLiteStore, greedy: LoggedShadow) -> None:
    agreement = greedy.agreement
    decided = [one.decision for one in store.decisions(limit=1000) if one.outcomes and one.decision.shadow]
    same = sum(one.llm == one.shadow[0].llm for one in decided)
    assert agreement.decisions == len(decided) == 600
    assert agreement.agreement == pytest.approx(same / 600)
    assert sum(agreement.choices.values()) == 600 - same > 0
    assert all(" -> " in pair for pair in agreement.choices)
    assert agreement.expected_agreement == pytest.approx(agreement.agreement, abs=0.08), (
        "a draw is its mean, but for chance"
    )
    assert agreement.shadow_lambda == 20.0
    assert agreement.live_lambda == pytest.approx(1.4)
    assert agreement.cost_difference_usd > 0, "quality counts more: it is dearer"
    assert agreement.quality_difference > 0
    assert agreement.without_shadow == 5, "requests that named their LLM"


def test_it_is_found_by_its_place_too(store: SQLiteStore) -> None:
    assert shadow_of_store(store, 1).name == "curious"
    assert shadow_of_store(store, 0).name == "greedy at 20"
    with pytest.raises(LogError, match=r"at place 2\. It holds: curious, greedy at 20"):
        shadow_of_store(store, 2)
    with pytest.raises(LogError, match="Did you mean 'curious'"):
        shadow_of_store(store, "curius")


def test_without_support_it_is_refused_and_its_agreement_is_known_all_the_same(tmp_path: Path) -> None:
    path = filled_store(tmp_path / "m.db", decisions=100, policy=PolicyConfig(name="greedy"), shadow=SHADOWS)
    store = SQLiteStore(path=path)
    try:
        curious = shadow_of_store(store, "curious")
    finally:
        store.close()
    assert curious.agreement.decisions == 100
    assert curious.agreement.agreement < 1.0
    with pytest.raises(NoSupportError, match="were never tried"):
        what_if(curious.log, curious, rng=np.random.default_rng(0))


def test_a_shadow_that_came_later_is_compared_from_then_on() -> None:
    store, rng = MemoryStore(), np.random.default_rng(0)
    router = router_on(store)
    for number in range(30):
        answer(router, router.route(question(number), expect_outcome=False), rng)
    with pytest.raises(LogError, match=r"no decision with a shadow. Set routing\.shadow"):
        shadow_of_store(store, "curious")
    router.worker.stop()
    with router_on(store, shadow=SHADOWS) as later:
        for number in range(20):
            answer(later, later.route(question(number), expect_outcome=False), rng)
        curious = shadow_of_store(store, "curious")
        assert (curious.agreement.decisions, curious.agreement.without_shadow) == (20, 30)
        assert len(curious.log) == 20
