"""The section ``calls``: how often, how long and with which fallbacks the LLMs are called for one request."""

from __future__ import annotations

from mixllm.config.section import Section, check_given
from mixllm.errors import InvalidValueError
from mixllm.units import fraction, non_negative, positive

__all__ = ["BreakerConfig", "CallsConfig", "HedgeConfig"]

_MOST_ATTEMPTS = 20


class BreakerConfig(Section, frozen=True, kw_only=True):
    """When an LLM that fails is left alone, and when it is tried again.

    Parameters
    ----------
    enabled
        Whether it ever is.
    failures, failure_share, min_calls, window_s, open_s, max_open_s
        See `mixllm.registry.BreakerRules`.
    """

    enabled: bool = True
    failures: int = 5
    failure_share: float = 0.5
    min_calls: int = 20
    window_s: float = 30.0
    open_s: float = 2.0
    max_open_s: float = 30.0

    def __post_init__(self) -> None:
        positive("failures", self.failures)
        if not 0 < self.failure_share <= 1:
            raise InvalidValueError("failure_share", self.failure_share, "above 0, at most 1")
        positive("min_calls", self.min_calls)
        positive("window_s", self.window_s)
        positive("open_s", self.open_s)
        if self.max_open_s < self.open_s:
            raise InvalidValueError("max_open_s", self.max_open_s, f">= open_s = {self.open_s:g}")


class HedgeConfig(Section, frozen=True, kw_only=True):
    """When a second LLM is started beside one that is late.

    Parameters
    ----------
    enabled
        Whether one ever is.
    factor
        It is started after this many times the late LLM's own tail quantile.
    min_delay_s
        But not before.
    max_share
        Largest share of the requests that are hedged.
    """

    enabled: bool = False
    factor: float = 1.0
    min_delay_s: float = 0.5
    max_share: float = 0.05

    def __post_init__(self) -> None:
        positive("factor", self.factor)
        non_negative("min_delay_s", self.min_delay_s)
        fraction("max_share", self.max_share)


class CallsConfig(Section, frozen=True, kw_only=True):
    """How the LLMs are called for one request.

    Parameters
    ----------
    max_attempts
        Most calls for one request, hedges not counted; 1: neither retries nor fallbacks.
    max_total_s
        Time from the request until the whole answer, or the first event of a stream, all attempts together.
    first_token_timeout_s
        Time limit for the first event of a stream, for LLMs without one of their own; None: that of any silence.
    max_stream_s
        Longest stream.
    retry_delay_s
        Mean wait before an LLM is called for the second time; it doubles with each further one.
    max_retry_wait_s
        An LLM that has to be waited for longer than this, by that or by its ``Retry-After``, is not called again.
    breaker
        When an LLM that fails is left alone.
    hedge
        When a second LLM is started beside one that is late.
    """

    max_attempts: int = 3
    max_total_s: float = 300.0
    first_token_timeout_s: float | None = None
    max_stream_s: float = 3600.0
    retry_delay_s: float = 0.2
    max_retry_wait_s: float = 2.0
    breaker: BreakerConfig = BreakerConfig()
    hedge: HedgeConfig = HedgeConfig()

    def __post_init__(self) -> None:
        if not 1 <= self.max_attempts <= _MOST_ATTEMPTS:
            raise InvalidValueError("max_attempts", self.max_attempts, f"between 1 and {_MOST_ATTEMPTS}")
        positive("max_total_s", self.max_total_s)
        check_given(positive, self, "first_token_timeout_s")
        positive("max_stream_s", self.max_stream_s)
        positive("retry_delay_s", self.retry_delay_s)
        non_negative("max_retry_wait_s", self.max_retry_wait_s)
