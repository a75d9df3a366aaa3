"""Sample values and small tools of the checks on stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mixllm.interfaces import Store
from mixllm.types import (
    Candidate,
    Decision,
    DecisionRecord,
    Estimate,
    Feedback,
    FeedbackKind,
    FeedbackReceipt,
    Forecast,
    Ineligible,
    Outcome,
    OutcomeEvent,
    OutcomeStatus,
    TagWeight,
)

__all__ = ["PATIENCE_S", "raises", "receipt", "sample_feedback", "sample_outcome", "sample_record"]

PATIENCE_S = 20.0
"""Only a store that hangs takes this long."""


def sample_record(number: int, *, llm: str = "small", prompt: str | None = None, score: float = 0.25) -> DecisionRecord:
    """Return a decision that fills every field; its id sorts by `number`."""
    estimate = Estimate(mean=0.1 + number, std=1 / 3)
    forecast = Forecast(
        quality=estimate, tokens_out=estimate, cost_usd=estimate, ttft_s=estimate, wait_s=0.5, latency_s=estimate
    )
    decision = Decision(
        decision_id=f"d{number:08d}",
        created_at_s=1_700_000_000.125 + number,
        llm=llm,
        reason="best score, not null",
        policy="squarecb",
        trade_off=1.4,
        cost_scale_usd=0.01,
        model_version=3,
        seed=2**64 - 1,
        tokens_in=100 + number,
        tags=(TagWeight(tag="mathe \N{GREEK SMALL LETTER PI}", probability=0.75),),
        candidates=(Candidate(llm=llm, forecast=forecast, score=score, propensity=1.0),),
        ineligible=(Ineligible(llm="blind", reason="no vision"),),
    )
    return DecisionRecord(decision=decision, encoding=bytes([number % 256, 0, 255, 0]) * 4, prompt=prompt)


def sample_outcome(
    record: DecisionRecord, *, llm: str | None = None, attempt: int = 0, status: OutcomeStatus = OutcomeStatus.OK
) -> OutcomeEvent:
    """Return the facts of a call of `record`'s decision."""
    outcome = Outcome(
        llm=llm, status=status, tokens_in=7, tokens_out=9, cost_usd=0.1 + attempt, latency_s=1.5, attempt=attempt
    )
    return OutcomeEvent(decision_id=record.decision.decision_id, outcome=outcome, created_at_s=2.0)


def sample_feedback(
    record: DecisionRecord, feedback_id: str, *, value: float = 0.3, created_at_s: float = 5.0
) -> Feedback:
    """Return a judgement of `record`'s decision."""
    return Feedback(
        feedback_id=feedback_id,
        decision_id=record.decision.decision_id,
        kind=FeedbackKind.REFINED,
        value=value,
        created_at_s=created_at_s,
        tags=(("team", "a\N{SNOWMAN}"),),
    )


def receipt(store: Store, feedback: Feedback) -> FeedbackReceipt:
    """Append a feedback, wait for it and return its receipt; raises what its future raises."""
    return store.append_feedback(feedback).result(PATIENCE_S)


@contextmanager
def raises(expected: type[Exception], what: str) -> Iterator[None]:
    """Raise `AssertionError` where the block does not raise `expected`."""
    try:
        yield
    except expected:
        return
    raise AssertionError(f"{what} must raise {expected.__name__}")
