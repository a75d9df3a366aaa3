"""What an LLM is expected to do."""

from __future__ import annotations

from mixllm.types.values import Value

__all__ = ["Estimate", "Forecast", "Hold"]


class Estimate(Value, frozen=True, kw_only=True, gc=False):
    """A prediction: its mean and its standard deviation, in the unit of what is predicted."""

    mean: float
    std: float


class Forecast(Value, frozen=True, kw_only=True, gc=False):
    """What one LLM is expected to do with one query.

    The means of `ttft_s` and `latency_s` are the middle of the forecast, its median: as many calls take longer as
    shorter. The few very long ones, which pull the average up, are what the tails tell of.

    Parameters
    ----------
    quality
        Quality of the answer, in [0, 1].
    tokens_out
        Length of the answer in tokens.
    cost_usd
        Cost of the call.
    ttft_s
        Time to the first token, waiting included.
    wait_s
        Time in the LLM's queue.
    latency_s
        Time to the last token, waiting included.
    latency_low_s, latency_high_s
        5 % and 95 % quantile of the same; 0 where nobody knows.
    latency_tail_s, ttft_tail_s
        What the time to the last and to the first token stays under with the probability that deadlines ask for; 0
        where nobody knows.
    judgements
        How many judgements of this LLM's answers the quality rests on.
    spent_usd
        What its calls have cost so far.
    newcomer
        Whether it came into a pool that had been judged before.
    """

    quality: Estimate
    tokens_out: Estimate
    cost_usd: Estimate
    ttft_s: Estimate
    wait_s: float
    latency_s: Estimate
    latency_low_s: float = 0.0
    latency_high_s: float = 0.0
    latency_tail_s: float = 0.0
    ttft_tail_s: float = 0.0
    judgements: float = 0.0
    spent_usd: float = 0.0
    newcomer: bool = False


class Hold(Value, frozen=True, kw_only=True, gc=False):
    """That an LLM would refuse a call now.

    Parameters
    ----------
    wait_s
        For how long; infinite where this call will never be taken.
    reason
        Why, and how long it still takes.
    """

    wait_s: float
    reason: str
