"""What was kept of a decision, and what there is to learn from it."""

from __future__ import annotations

from mixllm.types.decision import Decision
from mixllm.types.feedback import Feedback
from mixllm.types.outcome import Outcome
from mixllm.types.values import Value

__all__ = ["LearningEvent", "StoredDecision"]


class StoredDecision(Value, frozen=True, kw_only=True):
    """Everything the store knows of one decision."""

    decision: Decision
    outcomes: tuple[Outcome, ...] = ()
    feedback: tuple[Feedback, ...] = ()
    prompt: str | None = None


class LearningEvent(Value, frozen=True, kw_only=True):
    """One thing to learn from: an outcome or a feedback, with the decision that it belongs to.

    Parameters
    ----------
    seq
        Its place in the store's order of events; strictly rising, gaps allowed.
    llm
        The LLM that answered.
    encoding
        The query's encoding as little-endian float32 bytes.
    tokens_in
        Prompt tokens as the decision saw them.
    outcome, feedback
        Exactly one of them.
    created_at_s
        Unix time of the event.
    key_id
        Who asked the query, and whom the event's cost is charged to: the decision's.
    out_of_domain
        How far outside the decision found the query (see `Decision`).
    in_flight
        Calls to the chosen LLM that were under way when it was chosen (see `Decision`).
    """

    seq: int
    decision_id: str
    llm: str
    encoding: bytes
    tokens_in: int
    outcome: Outcome | None = None
    feedback: Feedback | None = None
    created_at_s: float = 0.0
    key_id: str = ""
    out_of_domain: float = 0.0
    in_flight: int = 0

    @property
    def charge_usd(self) -> float:
        """What the event cost, as measured: that of the call, or of the judgement; 0 where nobody knows it."""
        if self.outcome is not None:
            return self.outcome.cost_usd or 0.0
        return 0.0 if self.feedback is None else self.feedback.cost_usd
