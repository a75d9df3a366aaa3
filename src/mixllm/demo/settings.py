"""What a demo run is asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from mixllm.errors import InvalidValueError
from mixllm.types import Value
from mixllm.units import non_negative, positive

__all__ = ["Arrivals", "DemoSettings"]

Arrivals = Literal["closed", "paper", "poisson", "bursts", "trace"]


class DemoSettings(Value, frozen=True, kw_only=True):
    """What a demo run is asked to do.

    Parameters
    ----------
    data
        Folder of a routing log; None makes a synthetic one.
    queries
        Queries to send; a log with fewer gives all it has.
    concurrency
        Requests under way at the same time.
    speed
        How many times faster than recorded the LLMs answer; None: 20 times where arrivals are closed, else as fast as
        recorded.
    seed
        Of the queries' order, and of the synthetic log.
    trade_off
        λ of the gateway: what quality may cost at most; None: 20 with `data`, and 7 without, where a smaller share of
        the cost is enough.
    max_cost_share
        The gateway's limit on cost relative to always asking the strongest LLM, in (0, 1]; None: no limit.
    arrivals
        ``closed``: each answer makes place for the next query. Else queries come in their own time, whatever the
        answers do (see `mixllm.evaluation.load.arrival_times`).
    trace
        Parquet with the arrivals of ``trace``; None takes ``traces/azure_llm_2023_conv.parquet`` beside `data`.
    duration_s
        How long queries keep coming, where they come in their own time.
    rate_per_s
        Mean arrivals in a second, at recorded speed; None: those of the trace, else 5.
    capacity
        Calls that each LLM of the pool serves at the same time, where queries come in their own time.
    deadline_s
        Until when an answer has to be there to be worth anything, where queries come in their own time.
    """

    data: Path | None = None
    queries: int = 1500
    concurrency: int = 32
    speed: float | None = None
    seed: int = 0
    trade_off: float | None = None
    max_cost_share: float | None = 0.43
    arrivals: Arrivals = "closed"
    trace: Path | None = None
    duration_s: float = 120.0
    rate_per_s: float | None = None
    capacity: int = 8
    deadline_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("queries", "concurrency", "capacity"):
            if getattr(self, name) < 1:
                raise InvalidValueError(name, getattr(self, name), ">= 1")
        for name in ("speed", "rate_per_s"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))
        if self.arrivals not in get_args(Arrivals):
            raise InvalidValueError("arrivals", self.arrivals, f"one of {', '.join(get_args(Arrivals))}")
        positive("duration_s", self.duration_s)
        positive("deadline_s", self.deadline_s)
        non_negative("seed", self.seed)
        if self.trade_off is not None:
            non_negative("trade_off", self.trade_off)
        if self.max_cost_share is not None and not 0 < self.max_cost_share <= 1:
            raise InvalidValueError("max_cost_share", self.max_cost_share, "above 0, at most 1")

    @property
    def played_trade_off(self) -> float:
        """λ of the gateway."""
        return self.trade_off if self.trade_off is not None else (7.0 if self.data is None else 20.0)

    @property
    def played_speed(self) -> float:
        """How many times faster than recorded the LLMs answer."""
        return self.speed if self.speed is not None else (20.0 if self.arrivals == "closed" else 1.0)
