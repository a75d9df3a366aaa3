"""How forecasts compare with what came."""

from __future__ import annotations

from mixllm.dashboard.figures import CostForecast, Forecasts, LatencyForecast, QualityForecast
from mixllm.dashboard.means import StreamMean
from mixllm.dashboard.quantiles import StreamQuantiles
from mixllm.types import Forecast, Outcome

__all__ = ["ForecastTally"]


class ForecastTally:
    """Forecast and measured quality, cost and time of calls, summed up."""

    __slots__ = ("_bias", "_cost", "_cost_forecast", "_inside", "_intervals", "_judged", "_judged_forecast", "_ratios")

    def __init__(self) -> None:
        self._judged, self._judged_forecast, self._bias = StreamMean(), StreamMean(), StreamMean()
        self._cost, self._cost_forecast = StreamMean(), StreamMean()
        self._ratios = StreamQuantiles()
        self._inside = self._intervals = 0

    def add(self, forecast: Forecast, *, answer: Outcome, quality: float | None) -> None:
        """Count an answer of the chosen LLM, and its quality where somebody judged it."""
        if quality is not None:
            self._judged.add(quality)
            self._judged_forecast.add(forecast.quality.mean)
            self._bias.add(forecast.quality.mean - quality)
        if answer.cost_usd is not None and not answer.cost_estimated:
            self._cost.add(answer.cost_usd)
            self._cost_forecast.add(forecast.cost_usd.mean)
        if answer.latency_s is not None and forecast.latency_s.mean > 0:
            self._ratios.add(answer.latency_s / forecast.latency_s.mean)
            if forecast.latency_high_s > 0:
                self._intervals += 1
                self._inside += forecast.latency_low_s <= answer.latency_s <= forecast.latency_high_s

    def figures(self) -> Forecasts:
        """Return the comparison."""
        bias = self._bias.measured()
        forecast_usd, measured_usd = self._cost_forecast.mean, self._cost.mean
        return Forecasts(
            quality=None
            if bias is None
            else QualityForecast(forecast=self._judged_forecast.mean, measured=self._judged.mean, bias=bias),
            cost=None
            if not self._cost.count
            else CostForecast(
                forecast_usd=forecast_usd,
                measured_usd=measured_usd,
                ratio=measured_usd / forecast_usd if forecast_usd > 0 else None,
                count=self._cost.count,
            ),
            latency=None
            if not self._ratios.count
            else LatencyForecast(
                ratio_p50=self._ratios.quantile(0.5),
                inside_90=self._inside / self._intervals if self._intervals else None,
                count=self._ratios.count,
            ),
        )
