"""What a request came to, noted on its way for its line in the log and its trace."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from mixllm.types import Decision, Outcome

__all__ = ["NOTES", "RequestNotes", "note_decision", "note_outcome"]


@dataclass(slots=True)
class RequestNotes:
    """What is known of a request so far.

    Parameters
    ----------
    decision
        The last decision on it.
    llm
        The LLM of its last call.
    calls
        How many calls to LLMs it took.
    tokens_in, tokens_out
        Those of its last call.
    cost_usd
        What all its calls cost.
    """

    decision: Decision | None = None
    llm: str = ""
    calls: int = 0
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None


NOTES: ContextVar[RequestNotes | None] = ContextVar("mixllm_request_notes", default=None)
"""Of the request that the current task works for; None: nobody wants to know."""


def note_decision(decision: Decision) -> None:
    """Note a decision on the current request."""
    notes = NOTES.get()
    if notes is not None:
        notes.decision = decision
        notes.llm = decision.llm


def note_outcome(outcome: Outcome) -> None:
    """Note a call that the current request took."""
    notes = NOTES.get()
    if notes is not None:
        notes.calls += 1
        notes.llm = outcome.llm or notes.llm
        notes.tokens_in, notes.tokens_out = outcome.tokens_in, outcome.tokens_out
        if outcome.cost_usd is not None:
            notes.cost_usd = (notes.cost_usd or 0.0) + outcome.cost_usd
