"""One answered call, as the predictor of latency learns from it."""

from __future__ import annotations

from mixllm.errors import InvalidValueError
from mixllm.types import Value
from mixllm.units import finite, non_negative

__all__ = ["TimedCall"]

_MAX_LOG_PACE = 3.0


class TimedCall(Value, frozen=True, kw_only=True):
    """How long one successful call took, and what was known when it was made.

    Parameters
    ----------
    latency_s
        Time to the last token, waiting in the LLM's own queue included.
    tokens_out
        Length of the answer.
    tokens_in
        Prompt tokens as the decision saw them.
    ttft_s
        Time to the first token, where the answer was streamed; None: not known.
    streamed
        Whether the answer was streamed; None: where `ttft_s` is known.
    in_flight
        Calls to the LLM that were under way when it was chosen, this one not counted.
    max_in_flight
        Calls that the LLM serves at the same time, where that is declared.
    at_s
        Unix time of the answer.
    cached
        Whether a part of the prompt came from the provider's cache.
    log_pace
        Logarithm of how much longer calls of this kind take than their lengths say.
    expected_tokens_out, length_log_std
        The length that was expected of the answer, and the standard deviation of its logarithm; None takes
        `tokens_out` itself.

    Examples
    --------
    >>> TimedCall(latency_s=1.5, tokens_out=100, ttft_s=0.3).is_streamed
    True
    """

    latency_s: float
    tokens_out: float
    tokens_in: float = 0
    ttft_s: float | None = None
    streamed: bool | None = None
    in_flight: int = 0
    max_in_flight: int | None = None
    at_s: float = 0.0
    cached: bool = False
    log_pace: float = 0.0
    expected_tokens_out: float | None = None
    length_log_std: float = 0.0

    def __post_init__(self) -> None:
        for field in ("latency_s", "tokens_out", "tokens_in", "in_flight", "length_log_std"):
            non_negative(field, getattr(self, field))
        for field in ("ttft_s", "expected_tokens_out"):
            value = getattr(self, field)
            if value is not None:
                non_negative(field, value)
        if self.max_in_flight is not None and not self.max_in_flight >= 1:
            raise InvalidValueError("max_in_flight", self.max_in_flight, ">= 1")
        finite("at_s", self.at_s)
        if not abs(self.log_pace) <= _MAX_LOG_PACE:
            raise InvalidValueError("log_pace", self.log_pace, f"within ±{_MAX_LOG_PACE}")

    @property
    def is_streamed(self) -> bool:
        """Whether the answer was streamed, as far as anything tells."""
        return self.ttft_s is not None if self.streamed is None else self.streamed
