"""A world whose truth is known: contexts, LLMs, a logging policy, and logs of any length out of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixllm.decision import SquareCBPolicy
from mixllm.evaluation.offpolicy import LoggedDecisions
from mixllm.types import Estimate, Forecast

LLMS = ("small", "middle", "large")
TRADE_OFF = 1.0
COST_SCALE_USD = 0.01
_PRICES = np.array([0.001, 0.004, 0.01])
Table = NDArray[np.float64]


def quality_of(contexts: Table) -> Table:
    """Return the true mean quality, shape (n, 3)."""
    hard = contexts[:, None]
    quality: Table = np.clip(np.array([0.8, 0.85, 0.9]) - hard * np.array([0.6, 0.3, 0.1]), 0.02, 0.98)
    return quality


def cost_of(contexts: Table) -> Table:
    """Return the true mean cost, shape (n, 3)."""
    return _PRICES * (0.5 + contexts[:, None])


def forecast_of(contexts: Table) -> tuple[Table, Table]:
    """Return what the router believes of quality and cost: shifted and flattened."""
    return 0.1 + 0.8 * quality_of(contexts), 1.2 * cost_of(contexts)


def scores_of(quality: Table, cost: Table, trade_off: float = TRADE_OFF) -> Table:
    """Return the scores of forecasts."""
    worth = trade_off / (1 + trade_off)
    return worth * quality - (1 - worth) * cost / COST_SCALE_USD


def soft(scores: Table, *, epsilon: float) -> Table:
    """Return the best with 1 − ε, anyone with ε."""
    chosen = np.full(scores.shape, epsilon / scores.shape[1])
    chosen[np.arange(len(scores)), scores.argmax(axis=1)] += 1 - epsilon
    return chosen


def inverse_gap(scores: Table, *, gap_weight: float) -> Table:
    """Return what `SquareCBPolicy` gives without bounds, all rows at once."""
    rows, best = np.arange(len(scores)), scores.argmax(axis=1)
    chosen: Table = 1 / (scores.shape[1] + gap_weight * (scores.max(axis=1, keepdims=True) - scores))
    chosen[rows, best] = 0
    chosen[rows, best] = 1 - chosen.sum(axis=1)
    return chosen


def target_of(contexts: Table) -> Table:
    """Return a policy of another λ that decides by what is forecast, and hesitates a little."""
    return soft(scores_of(*forecast_of(contexts), trade_off=4.0), epsilon=0.1)


def truth(target: Any = target_of, *, contexts: int = 200_000) -> tuple[float, float]:
    """Return the mean quality and cost of a policy in this world, over a grid of contexts."""
    grid = (np.arange(contexts) + 0.5) / contexts
    chosen = target(grid)
    return float((chosen * quality_of(grid)).sum(1).mean()), float((chosen * cost_of(grid)).sum(1).mean())


def log_of(
    rng: np.random.Generator,
    *,
    decisions: int = 600,
    logging: str = "squarecb",
    judged: Table | None = None,
) -> tuple[LoggedDecisions, Table]:
    """Return a log, and the contexts of its decisions.

    Parameters
    ----------
    rng
        Source of everything random.
    decisions
        How many.
    logging
        ``squarecb``, ``soft`` or ``greedy``.
    judged
        Probability with which an answer of each LLM is judged, shape (3,); None judges all.
    """
    contexts = rng.uniform(size=decisions)
    quality, cost = forecast_of(contexts)
    scores = scores_of(quality, cost)
    propensities = {
        "squarecb": inverse_gap(scores, gap_weight=10.0),
        "soft": soft(scores, epsilon=0.3),
        "greedy": soft(scores, epsilon=0.0),
    }[logging]
    draws = rng.uniform(size=(decisions, 1))
    chosen = np.minimum((propensities.cumsum(axis=1) < draws).sum(axis=1), 2)
    rows = np.arange(decisions)
    reward = (rng.uniform(size=decisions) < quality_of(contexts)[rows, chosen]).astype(np.float64)
    if judged is not None:
        reward[rng.uniform(size=decisions) >= judged[chosen]] = np.nan
    spent = cost_of(contexts)[rows, chosen] * rng.gamma(4.0, 0.25, decisions)
    return (
        made(
            propensities=propensities,
            chosen=chosen,
            quality=reward,
            cost_usd=spent,
            quality_mean=quality,
            cost_usd_mean=cost,
            scores=scores,
            policies={logging: decisions},
        ),
        contexts,
    )


def made(**columns: Any) -> LoggedDecisions:
    """Return a log with `columns`, the others made up to fit; three LLMs."""
    shape = np.shape(columns["propensities"])
    given: dict[str, Any] = {
        "llms": LLMS,
        "candidates": np.ones(shape, np.bool_),
        "quality": np.full(shape[0], 0.5),
        "cost_usd": np.full(shape[0], 0.01),
        "scores": np.zeros(shape),
        "quality_mean": np.full(shape, 0.5),
        "quality_std": np.full(shape, 0.1),
        "cost_usd_mean": np.full(shape, 0.01),
        "judgements": np.full(shape, 50.0),
        "trade_off": np.full(shape[0], TRADE_OFF),
        "cost_scale_usd": np.full(shape[0], COST_SCALE_USD),
        "policies": {"squarecb": shape[0]},
        **columns,
    }
    return LoggedDecisions(**given)


def agrees_with_squarecb(scores: Table, *, gap_weight: float) -> bool:
    """Return whether `inverse_gap` is what the policy itself gives."""
    some = Estimate(mean=0.5, std=0.1)
    forecast = Forecast(quality=some, tokens_out=some, cost_usd=some, ttft_s=some, wait_s=0.0, latency_s=some)
    policy = SquareCBPolicy(gap_weight=gap_weight)
    rows = [policy.propensities(scores=row, stds=np.zeros(len(row)), forecasts=[forecast] * len(row)) for row in scores]
    return bool(np.allclose(rows, inverse_gap(scores, gap_weight=gap_weight)))
