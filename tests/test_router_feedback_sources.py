"""Feedback of several sources and keys through the router: late, twice, out of order, before and after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.small_router import SPECS, assert_alike, expectations, forecasts, question, small_router

from mixllm import Router, SQLiteStore
from mixllm.clock import ManualClock
from mixllm.config import FeedbackConfig, LearningConfig
from mixllm.learning.judging import Judging

TRUTH = {"small": 0.3, "middle": 0.6, "large": 0.9}


@pytest.fixture(autouse=True)
def impatient_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixllm.learning.worker._IDLE_WAIT_S", 0.02)


def router_in(path: Path, **change: Any) -> Router:
    return small_router(store=SQLiteStore(path=path / "r.db"), clock=ManualClock(), **change)


def judgements(count: int, seed: int = 0) -> list[tuple[str, bool, str, str]]:
    """Return LLM, thumb, source and key of `count` judgements."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        llm = list(TRUTH)[number % 3]
        up = bool(rng.random() < TRUTH[llm])
        source = ("user", "hasty", "random")[int(rng.integers(3))]
        flipped = {"user": 0.0, "hasty": 0.2, "random": 0.5}[source]
        made.append((llm, up != bool(rng.random() < flipped), source, "abc"[int(rng.integers(3))]))
    return made


def decide(router: Router, count: int, *, first: int = 0) -> list[str]:
    """Return ids of decisions for the LLMs in turn."""
    names = [spec.name for spec in SPECS]
    return [
        router.route(question(number), llm=names[number % 3], expect_outcome=False).decision_id
        for number in range(first, first + count)
    ]


def judge(router: Router, ids: list[str], said: list[tuple[str, bool, str, str]]) -> list[bool]:
    """Give the judgements; return which the store had already."""
    receipts = [
        router.submit_feedback(decision_id, thumbs=up, source=source, key_id=key)
        for decision_id, (_, up, source, key) in zip(ids, said, strict=True)
    ]
    found = [receipt.result().duplicate for receipt in receipts]
    router.learn()
    return found


def test_late_double_and_across_restarts_it_is_learned_once(tmp_path: Path) -> None:
    """Decisions first, judgements much later; half before a restart, all again after it, another restart."""
    said = judgements(240)
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    with router_in(tmp_path / "whole") as router:
        judge(router, decide(router, 240), said)
        expected, sources = expectations(router), router.learner.judging.sources()
    with router_in(tmp_path / "parts") as router:
        ids = decide(router, 240)
        judge(router, ids[:120], said[:120])
    with router_in(tmp_path / "parts") as router:
        assert judge(router, ids, said) == [True] * 120 + [False] * 120
        assert router.learner.counts.feedback + router.learner.counts.ignored == 120
    with router_in(tmp_path / "parts") as router:
        assert_alike(expectations(router), expected)
        for name, channel in router.learner.judging.sources().items():
            assert channel.gain == pytest.approx(sources[name].gain, rel=1e-9)


def test_out_of_order_it_teaches_the_same(tmp_path: Path) -> None:
    said = [(llm, up, "user", "") for llm, up, _, _ in judgements(90)]
    found = []
    for folder, order in (("one", np.arange(90)), ("two", np.random.default_rng(1).permutation(90))):
        (tmp_path / folder).mkdir()
        with router_in(tmp_path / folder) as router:
            ids = decide(router, 90)
            judge(router, [ids[place] for place in order], [said[place] for place in order])
            found.append(expectations(router))
    assert_alike(found[0], found[1])


def test_a_saved_router_knows_the_sources(tmp_path: Path) -> None:
    with small_router() as router:
        judge(router, decide(router, 200), judgements(200))
        router.save(tmp_path / "saved")
        expected = router.learner.judging.sources()
    with Router.load(tmp_path / "saved") as router:
        assert router.learner.judging.sources() == expected
        assert len(expected) == 3


def test_a_key_that_farms_is_bounded(tmp_path: Path) -> None:
    moved = {}
    for share in (0.2, 1.0):
        learning = LearningConfig(feedback=FeedbackConfig(max_key_share=share, key_judgements=10))
        with small_router(learning=learning) as router:
            said = [("small", False, "user", "abcdef"[number % 6]) for number in range(120)]
            ids = [router.route(question(n), llm="small", expect_outcome=False).decision_id for n in range(620)]
            judge(router, ids[:120], said)
            before = forecasts(router)["small"].quality.mean
            judge(router, ids[120:], [("small", True, "user", "farmer")] * 500)
            moved[share] = forecasts(router)["small"].quality.mean - before
    # A fifth of what was taught is its own: 30 of 150 judgements.
    assert 0.0 < moved[0.2] < 0.25 < 0.4 < moved[1.0]


@pytest.mark.parametrize(
    ("treatment", "reliability", "dynamic"),
    [("noisy-label", True, False), ("plain", False, False), ("dynamic", True, True)],
)
def test_the_configuration_chooses_the_treatment(treatment: Any, reliability: bool, dynamic: bool) -> None:
    feedback = FeedbackConfig(
        treatment=treatment, max_key_share=0.3, key_judgements=7, key_window_s=9, unbounded_keys=("k",)
    )
    with small_router(learning=LearningConfig(feedback=feedback)) as router:
        judging: Judging = router.learner.judging
        assert judging.reliability is reliability
        assert (judging.dynamic is not None) is dynamic
        shares = judging.shares
        assert (shares.max_share, shares.min_judgements, shares.window_s) == (0.3, 7, 9)
        assert shares.unbounded == {"k"}
        judge(router, decide(router, 60), judgements(60))
        assert router.learner.counts.refused == 0
        assert (router.snapshot.dynamic is not None) is dynamic
