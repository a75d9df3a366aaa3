"""What a report says: values with their units in their names."""

from __future__ import annotations

from mixllm.dashboard.means import Measured
from mixllm.types import Value

__all__ = [
    "Calls",
    "CostForecast",
    "Feedbacks",
    "Forecasts",
    "KeyFigures",
    "LLMFigures",
    "LatencyForecast",
    "QualityForecast",
    "Report",
    "Savings",
    "Series",
    "ShadowFigures",
    "Share",
    "Slot",
    "Spend",
    "TagFigures",
    "Times",
]


class Share(Value, frozen=True, kw_only=True):
    """How many decisions, and which share of those that could have been, in [0, 1]; None where none could."""

    decisions: int
    share: float | None


class Times(Value, frozen=True, kw_only=True):
    """Middle and 95 % quantile of so many times, in seconds; None where there is none."""

    p50: float | None
    p95: float | None
    count: int


class Calls(Value, frozen=True, kw_only=True):
    """How calls ended: fallbacks and hedges included, so there may be more calls than decisions."""

    ok: int = 0
    error: int = 0
    timeout: int = 0
    cancelled: int = 0
    broken_stream: int = 0


class Spend(Value, frozen=True, kw_only=True):
    """What was spent.

    Parameters
    ----------
    calls_usd
        On calls of LLMs, those that failed included.
    judging_usd
        On judging answers.
    total_usd
        Both.
    """

    calls_usd: float
    judging_usd: float
    total_usd: float


class Savings(Value, frozen=True, kw_only=True):
    """What routing saved against sending everything to the reference LLM, as far as that can be told.

    Parameters
    ----------
    reference
        The reference LLM.
    decisions
        Decisions that are compared: the router was free to choose, the cost is known, the reference could have taken
        the query.
    left_out
        All others.
    cost_usd
        What the compared ones have cost, as measured.
    reference_cost_usd
        What they would have cost with the reference: where it was chosen, as measured; elsewhere its forecast in the
        decision.
    saved_usd, saved_share
        The difference, and its share of the reference's cost.
    saved_net_usd
        The difference less what judging answers has cost.
    quality_forecast, reference_quality_forecast
        Mean quality that was forecast of what was chosen, and of the reference: both are forecasts, so they compare.
    reference_cost_ratio, reference_calls
        How much the reference's own calls have cost for each dollar that was forecast of them, and how many calls tell
        it: how far its forecasts can be believed. None where it was never chosen.
    """

    reference: str
    decisions: int
    left_out: int
    cost_usd: float
    reference_cost_usd: float
    saved_usd: float
    saved_share: float | None
    saved_net_usd: float
    quality_forecast: float
    reference_quality_forecast: float
    reference_cost_ratio: float | None
    reference_calls: int


class QualityForecast(Value, frozen=True, kw_only=True):
    """Forecast and judged quality of the same answers, and the mean of forecast − judged."""

    forecast: float
    measured: float
    bias: Measured


class CostForecast(Value, frozen=True, kw_only=True):
    """Mean forecast and measured cost of the same calls in USD, and measured / forecast."""

    forecast_usd: float
    measured_usd: float
    ratio: float | None
    count: int


class LatencyForecast(Value, frozen=True, kw_only=True):
    """Measured times against their forecast.

    Parameters
    ----------
    ratio_p50
        The middle of measured / forecast: 1 where as many calls take longer as shorter.
    inside_90
        Share of the calls that ended within their 90 % interval; None where none had one.
    count
        Of how many calls.
    """

    ratio_p50: float | None
    inside_90: float | None
    count: int


class Forecasts(Value, frozen=True, kw_only=True):
    """How forecasts compare with what came, where the chosen LLM answered; None where nothing did."""

    quality: QualityForecast | None
    cost: CostForecast | None
    latency: LatencyForecast | None


class LLMFigures(Value, frozen=True, kw_only=True):
    """One LLM.

    Parameters
    ----------
    decisions, share
        Decisions that it answered (or was chosen for, where nobody answered), and their share of all.
    quality
        Judged quality of its answers; None where none was judged.
    cost_usd
        What its calls have cost.
    latency_s, ttft_s
        Of its answers.
    calls
        How its calls ended.
    forecasts
        How its forecasts compare.
    """

    decisions: int
    share: float
    quality: Measured | None
    cost_usd: float
    latency_s: Times
    ttft_s: Times
    calls: Calls
    forecasts: Forecasts


class KeyFigures(Value, frozen=True, kw_only=True):
    """What one API key asked and spent; its judging is that of the answers to it."""

    decisions: int
    cost_usd: float
    judging_usd: float


class TagFigures(Value, frozen=True, kw_only=True):
    """One tag, where it is the most probable of a query: decisions, share of all, judged quality, cost of the calls."""

    decisions: int
    share: float
    quality: Measured | None
    cost_usd: float


class ShadowFigures(Value, frozen=True, kw_only=True):
    """One shadow policy: the decisions it made beside the live one, and the share with the same choice."""

    decisions: int
    agreement: float


class Feedbacks(Value, frozen=True, kw_only=True):
    """How many judgements there are, on how many decisions, and by whom."""

    judgements: int
    decisions: int
    by_source: dict[str, int]


class Slot(Value, frozen=True, kw_only=True):
    """A stretch of time: what was decided in it, and what came of that.

    `compared_usd` and `reference_cost_usd` are the two sides of the savings.
    """

    from_s: float
    decisions: int
    failed: int
    cost_usd: float
    compared_usd: float
    reference_cost_usd: float
    quality: float | None
    judged: int


class Series(Value, frozen=True, kw_only=True):
    """The stretches, oldest first, each `width_s` long; those without a decision are left out."""

    width_s: float
    slots: tuple[Slot, ...]


class Report(Value, frozen=True, kw_only=True):
    """What a router did in a period, by its store.

    Parameters
    ----------
    from_s, to_s
        The period that is told of, in Unix time: since its first decision where all of them are asked for.
    complete
        Whether every decision of the period was read; otherwise the newest, since `from_s`.
    decisions
        How many there were.
    answered, failed, cancelled, without_outcome
        What came of them: an answer; none, although it was waited for; the client left; nothing that is known (a
        decision that was asked for alone, or a call under way).
    forced
        Decisions where the client named the LLM.
    fallbacks
        Decisions that more than one call was made for.
    llms, keys, tags, shadows
        By name. Where there are very many names, the rest is under ``(others)``.
    quality
        Judged quality, of the answers that were judged; whether the others are like them is for the reader to know.
    spend
        What was spent.
    savings
        Against the reference; None where nothing can be compared.
    latency_s, ttft_s
        Time to the last and to the first token of the calls that answered.
    calls
        How calls ended.
    exploration
        Free decisions in which another than the best score was chosen.
    out_of_domain
        Decisions on queries unlike what was learned from (score at `out_of_domain_threshold` or above).
    feedback
        Judgements.
    forecasts
        How forecasts compare with what came.
    series
        The same over time.
    """

    from_s: float
    to_s: float
    complete: bool
    decisions: int
    answered: int
    failed: int
    cancelled: int
    without_outcome: int
    forced: int
    fallbacks: int
    llms: dict[str, LLMFigures]
    quality: Measured | None
    spend: Spend
    savings: Savings | None
    latency_s: Times
    ttft_s: Times
    calls: Calls
    keys: dict[str, KeyFigures]
    tags: dict[str, TagFigures]
    exploration: Share
    out_of_domain: Share
    out_of_domain_threshold: float
    shadows: dict[str, ShadowFigures]
    feedback: Feedbacks
    forecasts: Forecasts
    series: Series
