"""How many calls an LLM serves at the same time, and how fast it is just now: both from times that got longer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mixllm.predictors.latency.level import IDLE_TIME_S, RecentLevel, level_logs

__all__ = ["CAPACITIES", "QueueFilter"]

CAPACITIES = np.array(
    [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 29, 34, 41, 49, 58, 70, 83, 99, 118, 140, 166, 200, math.inf]
)
"""What is considered: calls served at the same time, the last one without any limit."""

_COUNT = len(CAPACITIES)
_LIMITED_LOG_PRIOR = -5.0
_LOG_PRIOR = np.where(np.isinf(CAPACITIES), 0.0, _LIMITED_LOG_PRIOR)
_KEPT_LEVEL = 0.85
"""What a call leaves of the weight of those before it in the recent level: about seven calls are remembered."""

_KEPT_AT_LEAST = 0.4
_SURPRISING = 9.0
"""A squared surprise of three standard deviations or more makes the calls before count less: an LLM that has become ten
times slower is known as such after some six answers."""

_KEPT_PENALTY = 0.98
"""The same of what speaks against each capacity: fifty calls."""

_MAX_LOG_RATIO = 4.0
_FREEDOM = 4.0
_LEAST_VARIANCE = 0.02
_MAX_SURPRISE = 2.0
"""What a call says against a capacity at most: a sudden change surprises under each, and must not decide."""

_LEVEL_PENALTY, _MAX_LEVEL_PENALTY = 0.3, 0.15
"""Of two explanations that fit alike, the one counts more by which the LLM is as fast as ever."""

_MAX_PENALTY = 1e9
_MAX_WEIGHT = 1e9


class QueueFilter:
    """One filter of the recent level for each capacity; those that foretell the times are believed.

    Notes
    -----
    A call that found n others under way at an LLM with c servers takes (S + max(0, n − c + 1)/c · S̄) · exp(ℓ), with S
    its own time alone, S̄ that of a usual call, and ℓ the LLM's recent level. For each c, the log ratio r of the
    measured time over the part in brackets is held against the level that earlier calls gave under the same c; what
    was not foretold, e, costs (ν + 1)/2 · log(1 + e²/(νv)), Student's t with ν = 4, for single calls may hang. A
    full queue is seen since its times rise with n, a slow LLM since they do not. The median of the capacities by
    their probability is taken; at the start that is "no limit".
    """

    def __init__(self) -> None:
        self.penalties = np.zeros(_COUNT)
        self._believed: int | None = None
        self._apart = False
        self.weight = 0.0
        self.moments = np.zeros(_COUNT)
        self.at_s = 0.0

    def place(self, declared: int | None) -> int:
        """Return the place of the capacity that is believed in, or of the one nearest to `declared`."""
        if declared is not None:
            return int(np.argmin(np.abs(CAPACITIES - declared)))
        if self._believed is not None:
            return self._believed
        odds = np.exp(_LOG_PRIOR - (self.penalties - self.penalties.min()))
        cumulative = np.cumsum(odds)
        self._believed = int(np.searchsorted(cumulative, cumulative[-1] / 2))
        return self._believed

    def level(self, place: int, *, noise_variance: float) -> RecentLevel:
        """Return the recent level under the capacity at `place`."""
        mean = float(self.moments[place]) / self.weight if self.weight > 0 else 0.0
        return RecentLevel(mean=mean, weight=self.weight, at_s=self.at_s, noise_variance=noise_variance)

    def rest(self, idle_s: float) -> None:
        """Let `idle_s` without calls pass."""
        if idle_s <= 0:
            return
        kept = math.exp(-idle_s / IDLE_TIME_S)
        self.weight *= kept
        self.moments *= kept
        self.at_s += idle_s

    def observe(
        self,
        *,
        latency_s: float,
        alone_s: float,
        typical_s: float,
        in_flight: int,
        noise_variance: float,
        at_s: float,
        declared: int | None = None,
    ) -> None:
        """Learn from a call that would take `alone_s` on an idle LLM at its usual pace."""
        place = self.place(declared)
        if in_flight == 0:  # Then every capacity foretells the same.
            ratios = np.full(_COUNT, _bounded_log(latency_s / alone_s))
        else:
            expected_s = alone_s + queued(in_flight) * typical_s
            ratios = np.log(max(latency_s, 1e-9 * alone_s) / expected_s).clip(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
        surprise = float(ratios[place]) - self.level(place, noise_variance=noise_variance).log()
        if in_flight > 0:
            self.penalties *= _KEPT_PENALTY
            self._apart = True
        if self._apart:  # Until calls met others under way, all capacities foretell alike.
            self._judge_capacities(ratios, noise_variance)
        kept = _kept(surprise, noise_variance)
        self.weight = kept * self.weight + 1.0
        self.moments = kept * self.moments + ratios
        self.at_s = max(self.at_s, at_s)

    def _judge_capacities(self, ratios: NDArray[np.float64], noise_variance: float) -> None:
        levels = level_logs(self.moments / max(self.weight, 1e-9), self.weight, noise_variance)
        errors = (ratios - levels) ** 2 / (_FREEDOM * max(noise_variance, _LEAST_VARIANCE))
        surprises = np.minimum((_FREEDOM + 1) / 2 * np.log1p(errors), _MAX_SURPRISE)
        surprises += np.minimum(_LEVEL_PENALTY * levels**2, _MAX_LEVEL_PENALTY)
        penalties = self.penalties + surprises
        self.penalties = penalties - penalties.min()
        self._believed = None

    def shift(self, log_change: float) -> None:
        """Take `log_change` off every log ratio: the long-run times that they refer to have become longer by that."""
        self.moments -= self.weight * log_change

    def newest(self) -> NDArray[np.float64]:
        """Return what is known of the level: time of the newest call, weight, and moments; of two, the newer stands."""
        return np.concatenate([[self.at_s, self.weight], self.moments])

    def load(self, penalties: NDArray[np.float64], newest: NDArray[np.float64]) -> None:
        """Replace what is known by what `newest` and `penalties` gave."""
        self.penalties = penalties.astype(np.float64)
        self._believed = None
        self.at_s, self.weight = (float(value) for value in newest[:2])
        self.moments = newest[2:].astype(np.float64)
        self._apart = bool(np.ptp(self.moments) > 0)

    @staticmethod
    def fits(state: Mapping[str, NDArray[np.float64]]) -> bool:
        """Return whether the arrays ``penalties`` and ``recent`` can be a filter's."""
        penalties, newest = state["penalties"], state["recent"]
        return (
            penalties.shape == (_COUNT,)
            and newest.shape == (_COUNT + 2,)
            and all(array.dtype.kind in "fiu" and bool(np.isfinite(array).all()) for array in (penalties, newest))
            and bool(((penalties >= 0) & (penalties <= _MAX_PENALTY)).all())
            and 0 <= float(newest[1]) <= _MAX_WEIGHT
            and bool((np.abs(newest[2:]) <= _MAX_WEIGHT).all())
        )


def queued(in_flight: int) -> NDArray[np.float64]:
    """Return the wait, in times of a usual call, behind `in_flight` calls under each of `CAPACITIES`."""
    waiting: NDArray[np.float64] = np.maximum(in_flight - CAPACITIES + 1.0, 0.0) / CAPACITIES
    return waiting


def _kept(surprise: float, noise_variance: float) -> float:
    """Return what of the weight of earlier calls is left after one that lies `surprise` off the level."""
    excess = max(0.0, surprise * surprise / (_SURPRISING * max(noise_variance, _LEAST_VARIANCE)) - 1.0)
    return max(_KEPT_AT_LEAST, _KEPT_LEVEL / (1.0 + excess / 4.0))


def _bounded_log(ratio: float) -> float:
    return min(_MAX_LOG_RATIO, math.log(max(ratio, 1e-9))) if ratio > math.exp(-_MAX_LOG_RATIO) else -_MAX_LOG_RATIO
