"""What a demo run is asked to do."""

from __future__ import annotations

from pathlib import Path

from mixllm.errors import InvalidValueError
from mixllm.types import Value
from mixllm.units import non_negative, positive

__all__ = ["DemoSettings"]


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
        How many times faster than recorded the LLMs answer.
    seed
        Of the queries' order, and of the synthetic log.
    trade_off
        λ of the gateway.
    """

    data: Path | None = None
    queries: int = 1500
    concurrency: int = 32
    speed: float = 20.0
    seed: int = 0
    trade_off: float = 7.0

    def __post_init__(self) -> None:
        for name in ("queries", "concurrency"):
            if getattr(self, name) < 1:
                raise InvalidValueError(name, getattr(self, name), ">= 1")
        positive("speed", self.speed)
        non_negative("seed", self.seed)
        non_negative("trade_off", self.trade_off)
