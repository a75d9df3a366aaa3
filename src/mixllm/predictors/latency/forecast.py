"""What is known of one LLM's times, frozen."""

from __future__ import annotations

import math

from mixllm.predictors.latency.level import RecentLevel
from mixllm.predictors.latency.shape import TimeShape
from mixllm.types import Estimate, Value

__all__ = ["LatencyForecast"]

_ORDINARY_PROMPT_TOKENS = 300


class LatencyForecast(Value, frozen=True, kw_only=True):
    """What one LLM's next calls are expected to take.

    Parameters
    ----------
    plain, streamed
        Long-run times of plain and of streamed calls.
    level
        How much slower or faster than that it is just now.
    capacity
        Calls that it serves at the same time; infinite where no limit is known.
    served_s, served
        Sum of the times of the calls that it has served, and their number, decayed.
    plain_ratios, streamed_ratios, ttft_ratios
        Counts of standardised log ratios of measured over expected time (see `mixllm.predictors.latency.ratios`).
    """

    plain: TimeShape
    streamed: TimeShape
    level: RecentLevel
    capacity: float
    served_s: float
    served: float
    plain_ratios: tuple[float, ...]
    streamed_ratios: tuple[float, ...]
    ttft_ratios: tuple[float, ...]

    @property
    def ttft_s(self) -> float:
        """Time to the first token of a stream, with a prompt of ordinary length, just now."""
        return self.streamed.ttft_s(_ORDINARY_PROMPT_TOKENS) * math.exp(self.level.log())

    @property
    def tpot_s(self) -> float:
        """Time per further token, just now."""
        return self.streamed.per_token_out_s * math.exp(self.level.log())

    @property
    def relative_std(self) -> float:
        """Standard deviation of the logarithm of a call's time whose length is known."""
        return math.sqrt(self.level.noise_variance)

    def latency_s(self, tokens_out: float, *, tokens_in: float = 0.0, streamed: bool = False) -> Estimate:
        """Return the time of an answer of `tokens_out` tokens just now, without waiting."""
        shape = self.streamed if streamed else self.plain
        mean = shape.latency_s(tokens_in, tokens_out) * math.exp(self.level.log())
        return Estimate(mean=mean, std=mean * self.relative_std)
