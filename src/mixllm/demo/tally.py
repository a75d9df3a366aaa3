"""What the demo counts: per LLM, per third, and against always asking the strongest LLM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixllm.demo.forecast_check import ForecastFigures
from mixllm.logs import RoutingLog
from mixllm.types import Value

__all__ = ["DemoResult", "LLMShare", "Latencies", "OverheadMs", "Ratios", "Tally"]

_RECENT = 200


class LLMShare(Value, frozen=True, kw_only=True):
    """What one LLM did: its share of the queries, its mean quality, its whole cost, its mean latency."""

    share: float
    quality: float | None
    cost_usd: float
    latency_s: float | None


class Ratios(Value, frozen=True, kw_only=True):
    """Quality and cost as shares of what always asking the strongest LLM gives on the same queries."""

    quality_ratio: float
    cost_ratio: float


class OverheadMs(Value, frozen=True, kw_only=True):
    """Time that requests spent in the gateway itself, as the gateway tells in its headers."""

    p50: float
    p99: float


class Latencies(Value, frozen=True, kw_only=True):
    """Time that requests took, at recorded speed."""

    p50: float
    p95: float
    p99: float


class DemoResult(Value, frozen=True, kw_only=True):
    """What ``mixllm demo --json`` prints."""

    quality_ratio: float
    cost_ratio: float
    queries: int
    per_llm: dict[str, LLMShare]
    overhead_ms: OverheadMs
    thirds: tuple[Ratios, ...]
    reference: str
    cost_usd: float
    reference_cost_usd: float
    regret_per_query: tuple[float, ...]
    failed: int
    trade_off: float
    seed: int
    seconds: float
    arrivals: str = "closed"
    late: int = 0
    shed: int = 0
    latency_s: Latencies | None = None
    forecasts: ForecastFigures | None = None


class Tally:
    """Counts answers in the order in which they came.

    Parameters
    ----------
    log
        Knows the quality and cost of every LLM on every query.
    reference
        The LLM to compare with.
    trade_off
        λ, for regret.
    """

    def __init__(self, *, log: RoutingLog, reference: str, trade_off: float) -> None:
        self.log = log
        self.reference = reference
        self.trade_off = trade_off
        self.failed = 0
        self.late = 0
        self.shed = 0
        self._reference = log.column(reference)
        self._rows: list[int] = []
        self._columns: list[int] = []
        self._latencies_s: list[float] = []
        self._overheads_ms: list[float] = []
        weight = trade_off / (1.0 + trade_off)
        scale_usd = float(np.nanmean(log.cost_usd[:, self._reference])) or 1.0
        self._utility = weight * log.quality - (1.0 - weight) * log.cost_usd / scale_usd

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, *, row: int, llm: str, latency_s: float, overhead_ms: float) -> None:
        """Count one answer: which query, which LLM, how long it took, how long the gateway took."""
        self._rows.append(row)
        self._columns.append(self.log.column(llm))
        self._latencies_s.append(latency_s)
        self._overheads_ms.append(overhead_ms)

    def ratios(self, part: slice = slice(None)) -> Ratios:
        """Return quality and cost as shares of the reference LLM's on the same queries."""
        quality, cost = self._of(self.log.quality, part), self._of(self.log.cost_usd, part)
        rows = self._rows[part]
        best = float(np.sum(self.log.quality[rows, self._reference]))
        dear = float(np.sum(self.log.cost_usd[rows, self._reference]))
        return Ratios(
            quality_ratio=float(quality.sum()) / best if best else 1.0,
            cost_ratio=float(cost.sum()) / dear if dear else 1.0,
        )

    def regret_per_query(self) -> tuple[float, ...]:
        """Return the mean regret of each stretch of the run: what the best LLM of each query would have been worth."""
        regret = np.nanmax(self._utility[self._rows], axis=1) - self._of(self._utility, slice(None))
        stretches = np.array_split(regret, max(1, min(20, len(regret) // 50)))
        return tuple(float(stretch.mean()) for stretch in stretches if len(stretch))

    def recent(self) -> Ratios:
        """Return the ratios of the last few hundred queries."""
        return self.ratios(slice(max(0, len(self) - _RECENT), None))

    def per_llm(self) -> dict[str, LLMShare]:
        """Return what each LLM did."""
        columns = np.array(self._columns, np.intp)
        quality, cost = self._of(self.log.quality, slice(None)), self._of(self.log.cost_usd, slice(None))
        latency_s = np.array(self._latencies_s)
        shares = {}
        for column, name in enumerate(self.log.llms):
            mine = columns == column
            shares[name] = LLMShare(
                share=float(mine.mean()) if len(mine) else 0.0,
                quality=float(quality[mine].mean()) if mine.any() else None,
                cost_usd=float(cost[mine].sum()),
                latency_s=float(latency_s[mine].mean()) if mine.any() else None,
            )
        return shares

    def overhead_ms(self) -> OverheadMs:
        """Return the median and the 99th percentile of the gateway's own time."""
        p50, p99 = np.percentile(self._overheads_ms, [50, 99]) if self._overheads_ms else (0.0, 0.0)
        return OverheadMs(p50=float(p50), p99=float(p99))

    def cost_usd(self) -> float:
        """Return what the answers cost."""
        return float(self._of(self.log.cost_usd, slice(None)).sum())

    def reference_cost_usd(self) -> float:
        """Return what the reference LLM would have cost."""
        return float(np.sum(self.log.cost_usd[self._rows, self._reference]))

    def latency_s(self) -> Latencies | None:
        """Return quantiles of the time that requests took; None before the first answer."""
        if not self._latencies_s:
            return None
        p50, p95, p99 = (float(at) for at in np.percentile(self._latencies_s, [50, 95, 99]))
        return Latencies(p50=p50, p95=p95, p99=p99)

    def result(
        self, *, seed: int, seconds: float, arrivals: str = "closed", forecasts: ForecastFigures | None = None
    ) -> DemoResult:
        """Return everything."""
        thirds = np.array_split(np.arange(len(self)), 3)
        whole = self.ratios()
        return DemoResult(
            quality_ratio=whole.quality_ratio,
            cost_ratio=whole.cost_ratio,
            queries=len(self),
            per_llm=self.per_llm(),
            overhead_ms=self.overhead_ms(),
            thirds=tuple(self.ratios(slice(int(part[0]), int(part[-1]) + 1)) for part in thirds if len(part)),
            reference=self.reference,
            cost_usd=self.cost_usd(),
            reference_cost_usd=self.reference_cost_usd(),
            regret_per_query=self.regret_per_query(),
            failed=self.failed,
            trade_off=self.trade_off,
            seed=seed,
            seconds=seconds,
            arrivals=arrivals,
            late=self.late,
            shed=self.shed,
            latency_s=self.latency_s(),
            forecasts=forecasts,
        )

    def _of(self, table: NDArray[np.float64], part: slice) -> NDArray[np.float64]:
        values: NDArray[np.float64] = table[self._rows[part], self._columns[part]]
        return values
