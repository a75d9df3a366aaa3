"""Whether an LLM still answers as well as it is expected to: a sequential test on each of its judgements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import StateError
from mixllm.types import Estimate
from mixllm.units import positive

__all__ = ["Drift", "DriftTest"]

_TILT = 1.0
"""The change that is looked for, in log odds: 0.7 against 0.46, 0.9 against 0.77. Larger ones are found sooner."""

_TOLERANCE = 0.05
_TOLERANCE_STDS = 2.0
"""What the mean of the judgements may be off by without being a change: forecasts are not perfect."""

_SIZE = 7
_NEVER = -1.0


class Drift(StrEnum):
    """Where the quality went."""

    FALL = "fall"
    RISE = "rise"


class DriftTest:
    """Two CUSUM tests, one for a fall of the quality below what is forecast and one for a rise above it.

    Parameters
    ----------
    answers_per_false_alarm
        Where nothing changes, the mean number of judged answers before an alarm is at least this.

    Notes
    -----
    W ← max(W, 0) + w · log(f₁(q)/f₀(q)), with an alarm where W reaches log(2N) for N answers per false alarm (Page,
    *Biometrika* 1954). f₀ and f₁ are Bernoulli, of mean p₀ and of mean p₁ at odds e times as low (as high); p₀ is the
    forecast less (plus) a tolerance of 0.05 and two standard deviations. For every q in [0, 1] whose mean is not below
    p₀, however it scatters, E[f₁(q)/f₀(q)] ≤ 1, since q ↦ e^{aq} is convex and Bernoulli judgements scatter most: the
    bound on false alarms holds for thumbs, 0/1 scores with variance p(1 − p) and graded scores alike, and for weights
    up to 1 (Lorden, *Ann. Math. Statist.* 1971, with e^W below the Shiryaev–Roberts martingale).

    Examples
    --------
    >>> test, forecast = DriftTest(answers_per_false_alarm=10_000), Estimate(mean=0.9, std=0.02)
    >>> [test.add(1.0, forecast) for _ in range(50)].count(None)
    50
    >>> next(answers for answers in range(1, 100) if test.add(0.0, forecast))
    14
    """

    def __init__(self, *, answers_per_false_alarm: float) -> None:
        self.answers_per_false_alarm = positive("answers_per_false_alarm", answers_per_false_alarm)
        self.threshold = math.log(2.0 * max(1.0, answers_per_false_alarm))
        self._sums = {Drift.FALL: 0.0, Drift.RISE: 0.0}
        self._runs = {Drift.FALL: 0, Drift.RISE: 0}
        self.gains: Mapping[Drift, float] = dict(self._sums)
        self.alarms = {Drift.FALL: 0, Drift.RISE: 0}
        self.last_alarm_s: float | None = None

    @property
    def statistic(self) -> float:
        """The larger of the two sums as a share of the threshold, in [0, 1]: an alarm comes where it reaches 1."""
        return max(self._sums.values()) / self.threshold

    @property
    def run(self) -> int:
        """Judged answers since the change that would be the most likely one now, if there were one."""
        return max(self._runs.values())

    def add(
        self,
        quality: float,
        forecast: Estimate,
        *,
        weight: float = 1.0,
        at_s: float = 0.0,
        believed: Callable[[Drift], bool] = lambda _: True,
    ) -> Drift | None:
        """Test one judgement; return where the quality went if this is an alarm.

        What it added to each sum is in `gains` then.

        Parameters
        ----------
        quality
            The judgement; what is outside of [0, 1] counts as its bound.
        forecast
            What was expected before it was learned.
        weight
            How much the judgement counts; above 1 as 1.
        at_s
            Unix time.
        believed
            Asked before an alarm is given; where it says no, the test waits at the threshold for further judgements.
        """
        q = min(1.0, max(0.0, quality))
        tolerance = _TOLERANCE + _TOLERANCE_STDS * forecast.std
        gains: dict[Drift, float] = {}
        for drift, sign in ((Drift.FALL, -1.0), (Drift.RISE, 1.0)):
            null = min(1.0, max(0.0, forecast.mean + sign * tolerance))
            gains[drift] = min(1.0, weight) * (sign * _TILT * q - math.log1p(null * math.expm1(sign * _TILT)))
            self._sums[drift] = max(0.0, self._sums[drift] + gains[drift])
            self._runs[drift] = self._runs[drift] + 1 if self._sums[drift] > 0 else 0
        self.gains = gains
        drift = max(self._sums, key=self._sums.__getitem__)
        if self._sums[drift] < self.threshold:
            return None
        if not believed(drift):
            self._sums[drift] = self.threshold
            return None
        self.alarms[drift] += 1
        self.last_alarm_s = at_s
        return drift

    def restart(self) -> None:
        """Begin anew, after an alarm."""
        for drift in Drift:
            self._sums[drift], self._runs[drift] = 0.0, 0

    def run_of(self, drift: Drift) -> int:
        """Judged answers since the change that would be the most likely one, if it was in this direction."""
        return self._runs[drift]

    def state(self) -> NDArray[np.float64]:
        """Return everything, shape (7,): both sums, both runs, both counts of alarms, time of the last (-1: none)."""
        last = _NEVER if self.last_alarm_s is None else self.last_alarm_s
        return np.array([*self._sums.values(), *self._runs.values(), *self.alarms.values(), last], np.float64)

    def load_state(self, state: NDArray[np.float64]) -> None:
        """Replace everything by what `state` gave; raises `StateError` where it is damaged, and stays as it was."""
        counted = state[:-1] if state.shape == (_SIZE,) else np.full(1, np.nan)
        if not ((counted >= 0) & (counted < 2.0**53)).all() or not math.isfinite(state[-1]):
            raise StateError("The checkpoint's drift test is damaged. Load another checkpoint.")
        sums, runs, alarms = counted[:2].tolist(), counted[2:4].tolist(), counted[4:].tolist()
        for place, drift in enumerate(Drift):
            self._sums[drift], self._runs[drift] = sums[place], int(runs[place])
            self.alarms[drift] = int(alarms[place])
        self.last_alarm_s = None if state[-1] == _NEVER else float(state[-1])
