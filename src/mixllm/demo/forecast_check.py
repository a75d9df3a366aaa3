"""How well the gateway forecast the time of its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mixllm.types import Decision, Value

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["ForecastCheck", "ForecastFigures"]

_WARM_UP = 100
"""So many of the first answers do not count: until then the forecasts are what is expected of any LLM."""


class ForecastFigures(Value, frozen=True, kw_only=True):
    """Forecasts of the time to the last token against what was measured, the first hundred answers left out.

    Parameters
    ----------
    answers
        How many were compared.
    median_error
        Median of abs(forecast − measured) / measured.
    within_90
        Share of the answers within their 90 % interval.
    """

    answers: int
    median_error: float
    within_90: float


class ForecastCheck:
    """Remembers what each answer took, and looks up what had been forecast."""

    def __init__(self) -> None:
        self._answers: list[tuple[str, str, float]] = []
        self._rows: list[tuple[float, float, float, float]] = []

    def answered(self, decision_id: str, llm: str, latency_s: float) -> None:
        """Remember one answer: of which decision, by which LLM, how long it really took."""
        self._answers.append((decision_id, llm, latency_s))

    async def look_up(self, client: AsyncOpenAI) -> None:
        """Ask the gateway for the decisions; an LLM that was not the first choice was not forecast to answer."""
        for decision_id, llm, latency_s in self._answers[_WARM_UP:]:
            found = await client.get(f"/decisions/{decision_id}", cast_to=object)
            decision = msgspec.convert(found["decision"], Decision)  # type: ignore[index]
            if decision.llm == llm:
                forecast = decision.chosen.forecast
                self._rows.append((latency_s, forecast.latency_s.mean, forecast.latency_low_s, forecast.latency_high_s))

    def figures(self) -> ForecastFigures | None:
        """Return the comparison; None where nothing was looked up."""
        if not self._rows:
            return None
        measured, forecast, low, high = np.array(self._rows).T
        return ForecastFigures(
            answers=len(measured),
            median_error=float(np.median(np.abs(forecast - measured) / measured)),
            within_90=float(np.mean((low <= measured) & (measured <= high))),
        )
