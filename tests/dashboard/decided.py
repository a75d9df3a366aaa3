"""Decisions by hand, so that every figure of a report can be told beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mixllm.interfaces import Store
from mixllm.router.decision_ids import new_decision_id
from mixllm.types import (
    Candidate,
    Decision,
    DecisionRecord,
    Estimate,
    Feedback,
    FeedbackKind,
    Forecast,
    Outcome,
    OutcomeEvent,
    ShadowChoice,
    StoredDecision,
    TagWeight,
)

__all__ = ["NOW_S", "decided", "judged", "keep"]

NOW_S = 1_800_000_000.0


def _estimate(mean: float) -> Estimate:
    return Estimate(mean=mean, std=0.1)


def forecast(*, quality: float, cost_usd: float, latency_s: float = 1.0) -> Forecast:
    """Return a forecast; its 90 % interval of time is from half to twice the middle."""
    return Forecast(
        quality=_estimate(quality),
        tokens_out=_estimate(100),
        cost_usd=_estimate(cost_usd),
        ttft_s=_estimate(0.1),
        wait_s=0.0,
        latency_s=_estimate(latency_s),
        latency_low_s=latency_s / 2,
        latency_high_s=latency_s * 2,
    )


def judged(value: float, *, source: str = "user", cost_usd: float = 0.0) -> Feedback:
    """Return a score."""
    return Feedback(
        feedback_id="f", decision_id="d", kind=FeedbackKind.REFINED, value=value, source=source, cost_usd=cost_usd
    )


def decided(
    llm: str,
    *outcomes: Outcome,
    feedback: Sequence[Feedback] = (),
    at_s: float = NOW_S - 60,
    best: str | None = None,
    policy: str = "thompson",
    tag: str = "code",
    key_id: str = "",
    outside: float = 0.0,
    shadow: str | None = None,
) -> StoredDecision:
    """Return a decision for `llm` among ``small`` (forecast: quality 0.6, $0.001) and ``large`` (0.9, $0.010)."""
    forecasts = {
        "small": forecast(quality=0.6, cost_usd=0.001),
        "large": forecast(quality=0.9, cost_usd=0.010, latency_s=3.0),
    }
    decision = Decision(
        decision_id=new_decision_id(at_s),
        created_at_s=at_s,
        llm=llm,
        reason="best score",
        policy=policy,
        trade_off=1.4,
        cost_scale_usd=0.01,
        model_version=1,
        seed=1,
        tokens_in=10,
        tags=(TagWeight(tag=tag, probability=0.8), TagWeight(tag="other", probability=0.2)),
        candidates=tuple(
            Candidate(llm=name, forecast=one, score=1.0 if name == (best or llm) else 0.0, propensity=0.5)
            for name, one in forecasts.items()
        ),
        out_of_domain=outside,
        shadow=()
        if shadow is None
        else (ShadowChoice(policy="bold", trade_off=3.0, llm=shadow, propensities=(0.5, 0.5)),),
        key_id=key_id,
    )
    return StoredDecision(decision=decision, outcomes=outcomes, feedback=tuple(feedback))


def keep(store: Store, decisions: Iterable[StoredDecision]) -> None:
    """Put decisions into a store."""
    for one in decisions:
        decision = one.decision
        store.append_decision(DecisionRecord(decision=decision, encoding=b"\0" * 16, prompt="a very secret prompt"))
        for outcome in one.outcomes:
            store.append_outcome(
                OutcomeEvent(decision_id=decision.decision_id, outcome=outcome, created_at_s=decision.created_at_s)
            )
        for number, judgement in enumerate(one.feedback):
            store.append_feedback(
                Feedback(
                    feedback_id=f"{decision.decision_id}/{number}",
                    decision_id=decision.decision_id,
                    kind=judgement.kind,
                    value=judgement.value,
                    source=judgement.source,
                    cost_usd=judgement.cost_usd,
                )
            )
    store.flush()
