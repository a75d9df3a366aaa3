"""The metrics of budgets, of the limit on the share of cost, and of shadows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from mixllm.router import BudgetStatus, CostShareStatus, ShadowCounts

__all__ = ["budget_metrics", "cost_share_metrics", "shadow_metrics"]

_TOTAL = "total"
"""What the budget over everything is called where keys have theirs."""


def budget_metrics(status: BudgetStatus) -> Iterator[Metric]:
    """Yield what there is to watch of the budgets; ``budget`` is ``total`` or the name of a key."""
    spent = GaugeMetricFamily("mixllm_budget_period_spent_usd", "Measured cost of the period", value=status.spent_usd)
    yield spent
    accounts = {} if status.total is None else {_TOTAL: status.total}
    accounts |= status.keys
    for name, words in (
        ("limit_usd", "Budget of a period"),
        ("spent_usd", "Measured cost of the period"),
        ("reserved_usd", "Expected cost of calls under way"),
        ("remaining_usd", "Budget that is neither spent nor reserved"),
    ):
        family = GaugeMetricFamily(f"mixllm_budget_{name}", words, labels=["budget"])
        for budget, account in accounts.items():
            family.add_metric([budget], getattr(account, name))
        yield family
    mu = GaugeMetricFamily("mixllm_budget_mu", "Multiplier of the budget, 0 where it does not bind", labels=["budget"])
    factor = GaugeMetricFamily("mixllm_budget_lambda_factor", "What λ is multiplied by", labels=["budget"])
    beyond = GaugeMetricFamily("mixllm_budget_out_of_reach", "1 where even the cheapest is too dear", labels=["budget"])
    refused = CounterMetricFamily("mixllm_budget_refused", "Requests refused because it was spent", labels=["budget"])
    for budget, account in accounts.items():
        mu.add_metric([budget], account.cost_weight - 1.0)
        factor.add_metric([budget], 1.0 / account.cost_weight)
        beyond.add_metric([budget], float(account.out_of_reach))
        refused.add_metric([budget], account.refused)
    yield from (mu, factor, beyond, refused)


def cost_share_metrics(status: CostShareStatus) -> Iterator[Metric]:
    """Yield what there is to watch of the limit on cost relative to the reference LLM."""
    for name, words, value in (
        ("limit", "Share of the reference LLM's cost that may be spent", status.limit),
        ("mu", "Multiplier of that limit, 0 where it does not bind", status.cost_weight - 1.0),
        ("lambda_factor", "What λ is multiplied by", 1.0 / status.cost_weight),
        ("out_of_reach", "1 where even the cheapest is too dear", float(status.out_of_reach)),
    ):
        yield GaugeMetricFamily(f"mixllm_cost_share_{name}", words, value=value)
    # Gauges: what was expected is replaced by what was measured, which may be less.
    yield GaugeMetricFamily("mixllm_cost_share_spent_usd", "Cost of decisions since the start", value=status.spent_usd)
    yield GaugeMetricFamily(
        "mixllm_cost_share_reference_usd", "What the reference would have cost", value=status.reference_usd
    )


def shadow_metrics(counts: Mapping[str, ShadowCounts]) -> Iterator[Metric]:
    """Yield how the shadows compare with the live policy."""
    decisions = CounterMetricFamily("mixllm_shadow_decisions", "Decisions of a shadow", labels=["shadow", "result"])
    cost = GaugeMetricFamily(
        "mixllm_shadow_cost_difference_usd", "Forecast cost beyond the live policy's, in all", labels=["shadow"]
    )
    quality = GaugeMetricFamily(
        "mixllm_shadow_quality_difference", "Forecast quality beyond the live policy's, in all", labels=["shadow"]
    )
    for name, one in counts.items():
        for result, count in (
            ("agreed", one.agreed),
            ("differed", one.decisions - one.agreed),
            ("failed", one.failed),
        ):
            decisions.add_metric([name, result], count)
        cost.add_metric([name], one.cost_difference_usd)
        quality.add_metric([name], one.quality_difference)
    yield from (decisions, cost, quality)
