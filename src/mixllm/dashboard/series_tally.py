"""Sums over time, in a bounded number of stretches."""

from __future__ import annotations

import math

from mixllm.dashboard.figures import Series, Slot
from mixllm.dashboard.means import StreamMean

__all__ = ["SeriesTally"]

_WIDTHS_S = (10, 30, 60, 300, 900, 3600, 21600, 86400, 604800, 4 * 604800)
"""Each is a multiple of the one before, so that stretches can be put together."""

_MOST_SLOTS = 100


class _Sums:
    __slots__ = ("compared_usd", "cost_usd", "decisions", "failed", "quality", "reference_usd")

    def __init__(self) -> None:
        self.decisions = self.failed = 0
        self.cost_usd = self.compared_usd = self.reference_usd = 0.0
        self.quality = StreamMean()

    def absorb(self, other: _Sums) -> None:
        self.decisions += other.decisions
        self.failed += other.failed
        self.cost_usd += other.cost_usd
        self.compared_usd += other.compared_usd
        self.reference_usd += other.reference_usd
        self.quality.absorb(other.quality)


class SeriesTally:
    """At most 100 stretches of equal length; the more time they have to cover, the longer they get.

    Parameters
    ----------
    span_s
        The time that will have to be covered; None where nobody knows.
    """

    def __init__(self, span_s: float | None = None) -> None:
        self._slots: dict[int, _Sums] = {}
        self._width_s = _wide_enough(span_s or 0.0)

    def add(
        self,
        at_s: float,
        *,
        failed: bool,
        cost_usd: float,
        compared: tuple[float, float] | None,
        quality: float | None,
    ) -> None:
        """Count a decision of that time; `compared` are both sides of its savings."""
        sums = self._at(at_s)
        sums.decisions += 1
        sums.failed += failed
        sums.cost_usd += cost_usd
        if compared is not None:
            sums.compared_usd += compared[0]
            sums.reference_usd += compared[1]
        if quality is not None:
            sums.quality.add(quality)

    def figures(self) -> Series:
        """Return the stretches, oldest first."""
        return Series(
            width_s=self._width_s,
            slots=tuple(
                Slot(
                    from_s=place * self._width_s,
                    decisions=sums.decisions,
                    failed=sums.failed,
                    cost_usd=sums.cost_usd,
                    compared_usd=sums.compared_usd,
                    reference_cost_usd=sums.reference_usd,
                    quality=sums.quality.mean if sums.quality.count else None,
                    judged=sums.quality.count,
                )
                for place, sums in sorted(self._slots.items())
            ),
        )

    def _at(self, at_s: float) -> _Sums:
        place = math.floor(at_s / self._width_s)
        found = self._slots.get(place)
        if found is not None:
            return found
        if self._slots:
            span_s = (max(place, *self._slots) - min(place, *self._slots)) * self._width_s
            if span_s > _MOST_SLOTS * self._width_s:
                self._widen(_wide_enough(span_s))
                place = math.floor(at_s / self._width_s)
        return self._slots.setdefault(place, _Sums())

    def _widen(self, width_s: float) -> None:
        before, factor = self._slots, round(width_s / self._width_s)
        self._slots, self._width_s = {}, width_s
        for place, sums in before.items():
            self._slots.setdefault(place // factor, _Sums()).absorb(sums)


def _wide_enough(span_s: float) -> float:
    return float(next((width for width in _WIDTHS_S if span_s <= _MOST_SLOTS * width), _WIDTHS_S[-1]))
