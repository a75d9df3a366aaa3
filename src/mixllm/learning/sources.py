"""How far each source of feedback can be relied on, estimated from its judgements beside those of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import StateError
from mixllm.types import Feedback

__all__ = ["FACE_VALUE", "MAX_TARGET", "MIN_TARGET", "Channel", "SourceChannels", "combined"]

MIN_TARGET, MAX_TARGET = -4.0, 5.0
"""Bounds on a corrected judgement: those of thumbs with the least gain that counts, whatever their bias."""

_MIN_GAIN = 0.2
"""A source whose gain is less teaches nothing: its judgements say next to nothing, or the opposite."""

_PRIOR_JUDGEMENTS = 50.0
_PRIOR_CENTRE, _PRIOR_SPREAD = 0.5, 0.2
"""The prior is as strong as judgements at face value of answers of these qualities (mean and std)."""

_REFERENCE_JUDGEMENTS = 100.0
"""What a source must have judged before the others are compared with it."""

_MAX_SOURCES = 256
_MIN_RESIDUAL = 1e-3
_DOUBT = 3.0
_MAX_TRUST = 0.99
_SUMS = 7
_MAX_SUM = 1e15


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What lies between the quality of an answer and the judgement of one source: f = β + J·q + ε.

    Parameters
    ----------
    bias, gain
        β and J; for thumbs 1 − specificity and sensitivity + specificity − 1.
    weight
        How much a judgement counts beside one of the reference source, in [0, 1].
    trust
        How much of the weight is beyond doubt, in [0, 1]: whether other sources may be judged by this one.
    """

    bias: float = 0.0
    gain: float = 1.0
    weight: float = 1.0
    trust: float = 0.0

    def target(self, value: float) -> float:
        """Return the quality (f − β)/J that a judgement stands for, right on average, within [-4, 5].

        Examples
        --------
        >>> thumbs = Channel(bias=0.2, gain=0.6, weight=0.3)  # one in five is wrong
        >>> round(thumbs.target(1.0), 3), round(thumbs.target(0.0), 3)
        (1.333, -0.333)
        """
        if self.gain < _MIN_GAIN:
            return value
        return min(MAX_TARGET, max(MIN_TARGET, (value - self.bias) / self.gain))


FACE_VALUE = Channel()
"""A source of which nothing is known, or the only one: its judgements are what they say."""


class SourceChannels:
    """The channel of every source, scores and thumbs apart.

    Notes
    -----
    Each judgement f comes with an estimate x of the answer's quality that does not rest on it: another source's
    judgement of the same answer where that one is to be trusted, else the forecast. x may be stale or badly scaled, so
    that no source is held against x itself: x is the instrument by which sources are compared with each other. With
    f_r ≈ β_r + J_r x for the source r of the highest gain (of those with 100 judgements), every other source is
    regressed on y = β_r + J_r x, with a prior of β = 0 and J = 1 that is worth 50 judgements. What moves all sources
    alike (an LLM that collapses, another domain, a bad prior) therefore makes no source unreliable, and a source that
    is alone is taken at face value.

    A judgement counts J²R_r/R, at most 1, with R the residual variance of its source and R_r that of the reference;
    nothing where J < 0.2. The sums of x, f and their products are the state: they add up.
    """

    def __init__(self) -> None:
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._lines: dict[str, _Line] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sources, in the order in which they came."""
        return tuple(self._sums)

    def name_of(self, feedback: Feedback) -> str:
        """Return the name under which the source of `feedback` is known; beyond 256 sources, a common one."""
        name = f"{feedback.kind}/{feedback.source}"
        return name if name in self._sums or len(self._sums) < _MAX_SOURCES else f"{feedback.kind}/"

    def add(self, name: str, *, estimate: float, value: float, settled: float = 0.0, weight: float = 1.0) -> None:
        """Learn one judgement.

        Parameters
        ----------
        name
            From `name_of`.
        estimate
            The quality x that was expected of the answer without this judgement.
        value
            The judgement f.
        settled
            By how much the variance of the answer's quality was lowered by what others said of it.
        weight
            How much it counts, in [0, 1].
        """
        pair = (1.0, estimate, estimate * estimate, value, estimate * value, value * value, settled)
        sums = self._sums.get(name)
        if sums is None:
            sums = self._sums[name] = np.zeros(_SUMS)
        sums += weight * np.array(pair)
        self._lines[name] = _Line.through(sums)

    def channel(self, name: str) -> Channel:
        """Return the channel of a source, as its judgements so far tell it."""
        sums, reference = self._sums.get(name), self._reference()
        if sums is None or reference is None:
            return FACE_VALUE
        line, scale = self._lines[name], self._lines[reference]
        if name == reference:
            return Channel(trust=line.trust())
        against = _on_scale(sums, scale)
        relative = _Line.through(against)
        unit = max(_MIN_RESIDUAL, scale.residual / max(1.0, scale.judgements))
        scatter = relative.residual + (relative.gain * scale.gain) ** 2 * float(sums[6]) + _PRIOR_JUDGEMENTS * unit
        residual = max(_MIN_RESIDUAL, scatter / (line.judgements + _PRIOR_JUDGEMENTS))
        weight = min(1.0, relative.gain**2 * unit / residual) if relative.gain >= _MIN_GAIN else 0.0
        return Channel(bias=relative.bias, gain=relative.gain, weight=weight, trust=line.trust())

    def merge(self, other: Self) -> None:
        """Add what `other` has learned: the result is that of all judgements together."""
        for name, sums in other._sums.items():
            kind = name.partition("/")[0]
            mine = name if name in self._sums or len(self._sums) < _MAX_SOURCES else f"{kind}/"
            self._sums[mine] = self._sums.get(mine, np.zeros(_SUMS)) + sums
            self._lines[mine] = _Line.through(self._sums[mine])

    def state(self) -> NDArray[np.float64]:
        """Return the additive sums, a row for each of `names`, shape (S, 7)."""
        return np.array(list(self._sums.values())).reshape(len(self._sums), _SUMS)

    def load_state(self, names: Sequence[str], state: NDArray[np.float64]) -> None:
        """Replace the state; raises `StateError` where it is damaged, and leaves it as it was."""
        if state.shape != (len(names), _SUMS) or len(set(names)) < len(names) or len(names) > _MAX_SOURCES + 2:
            raise StateError("The state of the sources of feedback does not fit. Load another checkpoint.")
        if not (np.abs(state) < _MAX_SUM).all() or (state[:, [0, 2, 5]] < 0).any():
            raise StateError("The state of the sources of feedback is damaged. Load another checkpoint.")
        self._sums = {name: row.astype(np.float64) for name, row in zip(names, state, strict=True)}
        self._lines = {name: _Line.through(sums) for name, sums in self._sums.items()}

    def channels(self) -> Mapping[str, Channel]:
        """Return the channel of every source by its name, ``kind/source``."""
        return {name: self.channel(name) for name in self._sums}

    def _reference(self) -> str | None:
        known = [
            (line.gain, name)
            for name, line in self._lines.items()
            if line.judgements >= _REFERENCE_JUDGEMENTS and line.gain >= _MIN_GAIN
        ]
        return max(known)[1] if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """f ≈ bias + gain · x by ridge regression; `residual` is the sum of squares that it leaves."""

    judgements: float
    bias: float
    gain: float
    gain_std: float
    residual: float

    @classmethod
    def through(cls, sums: NDArray[np.float64]) -> _Line:
        n, x, xx, f, xf, ff, _ = sums.tolist()
        centre_square = _PRIOR_CENTRE**2 + _PRIOR_SPREAD**2
        count = n + _PRIOR_JUDGEMENTS
        x_mean = (x + _PRIOR_JUDGEMENTS * _PRIOR_CENTRE) / count
        f_mean = (f + _PRIOR_JUDGEMENTS * _PRIOR_CENTRE) / count
        spread = max(xx + _PRIOR_JUDGEMENTS * centre_square - count * x_mean**2, 1e-9)
        gain = (xf + _PRIOR_JUDGEMENTS * centre_square - count * x_mean * f_mean) / spread
        bias = f_mean - gain * x_mean
        residual = ff - 2 * bias * f - 2 * gain * xf + n * bias**2 + 2 * bias * gain * x + gain**2 * xx
        variance = max(_MIN_RESIDUAL, residual / n) if n >= 1 else 1.0
        return cls(
            judgements=n, bias=bias, gain=gain, gain_std=math.sqrt(variance / spread), residual=max(0.0, residual)
        )

    def trust(self) -> float:
        """Return how much of the gain is left when three standard errors are taken off."""
        return 0.0 if self.gain < _MIN_GAIN else max(0.0, 1.0 - _DOUBT * self.gain_std / self.gain) ** 2


def _on_scale(sums: NDArray[np.float64], scale: _Line) -> NDArray[np.float64]:
    """Return the sums as they are with β + J·x in the place of x."""
    n, x, xx, f, xf, ff, settled = sums.tolist()
    b, j = scale.bias, scale.gain
    return np.array(
        [n, n * b + j * x, n * b * b + 2 * b * j * x + j * j * xx, f, b * f + j * xf, ff, settled], np.float64
    )


def combined(forecast: float, others: Sequence[tuple[float, Channel]]) -> tuple[float, float]:
    """Return the best estimate of an answer's quality, and the share of its variance that `others` settled.

    Parameters
    ----------
    forecast
        The quality expected before any judgement.
    others
        Judgements of the answer with the channels that they came through.

    Notes
    -----
    With σ² the scatter of answers around the forecast, a judgement of weight w has the noise σ²(1 − w)/w beside it, so
    that the estimate is the forecast moved towards the targets' mean by o/(1 + o), o = Σ w/(1 − w). Weights are taken
    down to what is beyond doubt.

    Examples
    --------
    >>> combined(0.5, [(1.0, Channel(weight=0.5, trust=1.0))])
    (0.75, 0.5)
    >>> combined(0.5, [(1.0, FACE_VALUE)])
    (0.5, 0.0)
    """
    odds = total = 0.0
    for value, channel in others:
        weight = min(_MAX_TRUST, channel.weight * channel.trust)
        odds += weight / (1.0 - weight)
        total += weight / (1.0 - weight) * channel.target(value)
    if odds == 0.0:
        return forecast, 0.0
    settled = odds / (1.0 + odds)
    return forecast + settled * (total / odds - forecast), settled
