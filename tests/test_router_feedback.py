"""Judgements: once, from each source, in range; and they teach."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.small_router import (
    called,
    forecasts,
    small_router,
)

from mixllm import Router
from mixllm.errors import (
    ConflictingEventError,
    InvalidValueError,
    UnknownDecisionError,
)


@pytest.fixture(autouse=True)
def impatient_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixllm.learning.worker._IDLE_WAIT_S", 0.02)


@pytest.fixture
def router() -> Iterator[Router]:
    with small_router() as made:
        yield made


def test_feedback_teaches(router: Router) -> None:
    before = forecasts(router)
    for number in range(30):
        decision = router.route("solve the equation", llm="small")
        assert not router.feedback(decision.decision_id, quality=1.0).duplicate
        decision = router.route("solve the equation", llm="large")
        router.feedback(decision.decision_id, thumbs=False)
        assert number < 30
    assert router.learn() + router.learner.counts.feedback >= 60
    after = forecasts(router)
    assert after["small"].quality.mean > before["small"].quality.mean
    assert after["large"].quality.mean < before["large"].quality.mean
    assert after["small"].quality.std < before["small"].quality.std
    assert after["small"].judgements == 30


def test_the_same_feedback_twice_learns_once(router: Router) -> None:
    """ParetoBandit learns and charges twice."""
    decision = called(router)
    first = router.feedback(decision.decision_id, quality=0.8)
    again = router.feedback(decision.decision_id, quality=0.8)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert first.feedback_id == again.feedback_id
    router.learn()
    assert router.learner.counts.feedback == 1
    assert len(router.decision(decision.decision_id).feedback) == 1


def test_another_judgement_under_the_same_id_is_refused(router: Router) -> None:
    decision = called(router)
    router.feedback(decision.decision_id, quality=0.8)
    with pytest.raises(ConflictingEventError, match="already recorded with another content"):
        router.feedback(decision.decision_id, quality=0.7)
    with pytest.raises(ConflictingEventError):
        router.feedback(decision.decision_id, thumbs=True)
    other = called(router, 1)
    router.feedback(decision.decision_id, quality=0.1, feedback_id="key-1")
    with pytest.raises(ConflictingEventError, match="'key-1'"):
        router.feedback(other.decision_id, quality=0.1, feedback_id="key-1")
    router.learn()
    assert router.learner.counts.feedback == 2


def test_each_source_and_metric_judges_by_itself(router: Router) -> None:
    decision = called(router)
    router.feedback(decision.decision_id, quality=0.8, tags={"b": "2", "a": "1"})
    router.feedback(decision.decision_id, quality=0.2, source="judge")
    router.feedback(decision.decision_id, quality=0.0, metric="politeness")
    router.learn()
    assert router.learner.counts.feedback == 2, "politeness teaches nothing"
    kept = router.decision(decision.decision_id).feedback
    assert [(one.source, one.metric, one.value) for one in kept] == [
        ("user", "quality", 0.8),
        ("judge", "quality", 0.2),
        ("user", "politeness", 0.0),
    ]
    assert kept[0].tags == (("a", "1"), ("b", "2"))


@pytest.mark.parametrize(
    ("judgement", "parameter"),
    [
        ({}, "quality, thumbs"),
        ({"quality": 0.5, "thumbs": True}, "quality, thumbs"),
        ({"quality": 0.0, "thumbs": False}, "quality, thumbs"),
        ({"quality": float("nan")}, "quality"),
        ({"quality": 1.01}, "quality"),
        ({"quality": -0.01}, "quality"),
        ({"quality": float("inf")}, "quality"),
        ({"quality": "good"}, "quality"),
        ({"quality": "0.5"}, "quality"),
        ({"quality": [0.5]}, "quality"),
        ({"thumbs": "up"}, "thumbs"),
        ({"thumbs": 0.7}, "thumbs"),
        ({"quality": 0.5, "feedback_id": ""}, "feedback_id"),
        ({"quality": 0.5, "feedback_id": "x" * 601}, "feedback_id"),
        ({"quality": 0.5, "metric": ""}, "metric"),
        ({"quality": 0.5, "source": ""}, "source"),
    ],
)
def test_judgements_that_are_none_are_refused(router: Router, judgement: dict[str, Any], parameter: str) -> None:
    decision = called(router)
    with pytest.raises(InvalidValueError) as caught:
        router.feedback(decision.decision_id, **judgement)
    assert caught.value.parameter == parameter
    assert router.decision(decision.decision_id).feedback == ()


def test_numpys_numbers_are_judgements_too(router: Router) -> None:
    judgements: list[dict[str, Any]] = [
        {"quality": np.float32(0.5)},
        {"thumbs": np.ones(1, np.bool_)[0]},
        {"quality": 1},
    ]
    for number, judgement in enumerate(judgements):
        router.feedback(called(router, number).decision_id, **judgement)
    router.learn()
    assert router.learner.counts.feedback == 3


def test_feedback_on_an_unknown_decision_is_refused(router: Router) -> None:
    with pytest.raises(UnknownDecisionError, match="No decision 'nowhere'"):
        router.feedback("nowhere", quality=0.5)
    assert isinstance(router.submit_feedback("nowhere", quality=0.5).exception(), UnknownDecisionError)


def test_feedback_may_come_without_an_outcome_and_late(router: Router) -> None:
    decision = router.route("hi")
    router.remove_llm(decision.llm)
    router.feedback(decision.decision_id, thumbs=True)
    router.learn()
    assert router.learner.counts.feedback == 1


def test_the_background_learns_by_itself(router: Router) -> None:
    version = router.snapshot.version
    for number in range(5):
        router.feedback(called(router, number).decision_id, quality=0.9)
    deadline = threading.Event()
    for _ in range(500):
        if router.learner.counts.feedback == 5:
            break
        deadline.wait(0.01)
    assert router.learner.counts.feedback == 5
    assert router.learn() == 0 or router.snapshot.version > version
    assert router.snapshot.version > version
