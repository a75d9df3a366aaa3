"""How quality and cost make one number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.units import non_negative, positive

__all__ = ["Exchange"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The rate at which quality and cost are exchanged: r = λ/(1+λ)·q − c/(c_ref·(1+λ)).

    It is MixLLM's score (design §3) at the true quality and the true cost, without the penalty for waiting.

    Parameters
    ----------
    trade_off
        λ >= 0.
    cost_scale_usd
        c_ref > 0: the mean cost of the reference LLM over the log, as recorded.

    Examples
    --------
    >>> exchange = Exchange(trade_off=1.0, cost_scale_usd=0.01)
    >>> exchange.reward(1.0, 0.005), exchange.rewards(np.array([1.0, 0.0]), np.array([0.0, 0.01]))
    (0.25, array([ 0.5, -0.5]))
    """

    trade_off: float
    cost_scale_usd: float

    def __post_init__(self) -> None:
        non_negative("trade_off", self.trade_off)
        positive("cost_scale_usd", self.cost_scale_usd)

    def reward(self, quality: float, cost_usd: float) -> float:
        """Return the reward of one answer."""
        return (self.trade_off * quality - cost_usd / self.cost_scale_usd) / (1.0 + self.trade_off)

    def rewards(self, quality: NDArray[np.float64], cost_usd: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the reward of each answer, of the shape of `quality` and `cost_usd`."""
        found: NDArray[np.float64] = (self.trade_off * quality - cost_usd / self.cost_scale_usd) / (
            1.0 + self.trade_off
        )
        return found
