"""What a call was."""

from __future__ import annotations

from enum import StrEnum

from mixllm.types.values import Value, check_key_id, count_in_range
from mixllm.units import non_negative

__all__ = ["Outcome", "OutcomeEvent", "OutcomeStatus"]


class OutcomeStatus(StrEnum):
    """How a call ended."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    BROKEN_STREAM = "broken_stream"


class Outcome(Value, frozen=True, kw_only=True):
    """The facts of one call: tokens, cost, time and status.

    Parameters
    ----------
    llm
        The LLM that was called; None takes the decision's.
    status
        How the call ended; only ``ok`` calls teach length and latency.
    tokens_in, tokens_out
        As billed; None where nobody counted them.
    cached_tokens_in, reasoning_tokens
        Parts of the two above that are priced apart.
    cost_usd
        What the call cost; None prices the tokens.
    cost_estimated
        Whether nobody measured that cost: the call was given up before its end.
    latency_s, ttft_s
        Time to the last and to the first token.
    streamed
        Whether the answer was streamed.
    choices
        How many answers `tokens_out` is of, >= 1.
    attempt
        0 for the first call of a decision, 1 for the first fallback, and so on.
    error
        What went wrong, without secrets and prompts.
    key_id
        Whom the call is charged to (see `Query`); the router fills it in.
    in_flight
        Calls to its LLM that were under way when it began; None takes the decision's, which counted those of the LLM
        that was chosen. The router fills it in where another LLM took the call.
    """

    llm: str | None = None
    status: OutcomeStatus = OutcomeStatus.OK
    tokens_in: int | None = None
    tokens_out: int | None = None
    cached_tokens_in: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None
    cost_estimated: bool = False
    latency_s: float | None = None
    ttft_s: float | None = None
    streamed: bool = False
    choices: int = 1
    attempt: int = 0
    error: str | None = None
    key_id: str = ""
    in_flight: int | None = None

    def __post_init__(self) -> None:
        check_key_id(self.key_id)
        # One by one: a loop over names would take longer than all the rest of recording a call in memory.
        count_in_range("tokens_in", self.tokens_in, 0)
        count_in_range("tokens_out", self.tokens_out, 0)
        count_in_range("cached_tokens_in", self.cached_tokens_in, 0)
        count_in_range("reasoning_tokens", self.reasoning_tokens, 0)
        count_in_range("attempt", self.attempt, 0)
        count_in_range("in_flight", self.in_flight, 0)
        count_in_range("choices", self.choices, 1)
        if self.cost_usd is not None:
            non_negative("cost_usd", self.cost_usd)
        if self.latency_s is not None:
            non_negative("latency_s", self.latency_s)
        if self.ttft_s is not None:
            non_negative("ttft_s", self.ttft_s)


class OutcomeEvent(Value, frozen=True, kw_only=True):
    """An outcome on its way to the store; its id is the decision's and the attempt's number."""

    decision_id: str
    outcome: Outcome
    created_at_s: float

    @property
    def event_id(self) -> str:
        """Idempotency key."""
        return f"{self.decision_id}/{self.outcome.attempt}"
