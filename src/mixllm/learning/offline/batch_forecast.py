"""Forecasts of many queries at once, from the same snapshot that the request path reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.learning.snapshot import Snapshot
from mixllm.predictors import FrozenBank, LinearBank, length_feature_rows, tokens_from_log

__all__ = ["BatchForecast", "forecast_batch"]

_ROWS = 512
"""Queries whose variances are computed together: bounds the memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchForecast:
    """Expected quality, length and cost of n queries at K LLMs, with standard deviations, each of shape (n, K)."""

    quality: NDArray[np.float64]
    quality_std: NDArray[np.float64]
    tokens_out: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    cost_std_usd: NDArray[np.float64]


def forecast_batch(snapshot: Snapshot, features: NDArray[np.float32], tokens_in: NDArray[np.float64]) -> BatchForecast:
    """Return what `Snapshot.forecasts` says of each query.

    Parameters
    ----------
    snapshot
        What is known.
    features
        z, shape (n, D).
    tokens_in
        Prompt tokens, shape (n,).
    """
    extended = length_feature_rows(features, tokens_in)
    quality, quality_std = _bank(snapshot.quality, features, base=snapshot.quality_base)
    if snapshot.dynamic is not None:
        quality += snapshot.dynamic.predict(features)
    log_mean, log_std = _bank(snapshot.length, extended, base=snapshot.length_base)
    tokens, tokens_std = tokens_from_log(log_mean, log_std, snapshot.length.residual_variances.astype(np.float64))
    billed = np.array([snapshot.billing.predict(row) for row in extended]).reshape(log_mean.shape)
    prices = [spec.price for spec in snapshot.specs]
    usd_in = np.array([0.0 if price is None else price.usd_per_million_tokens_in for price in prices]) / 1e6
    usd_out = np.array([0.0 if price is None else price.usd_per_million_tokens_out for price in prices]) / 1e6
    cost_usd = billed * (tokens_in[:, None] * usd_in + tokens * usd_out)
    return BatchForecast(
        quality=np.clip(quality, 0.0, 1.0),
        quality_std=quality_std,
        tokens_out=np.asarray(tokens, np.float64),
        cost_usd=cost_usd,
        cost_std_usd=np.hypot(billed * tokens_std * usd_out, cost_usd * snapshot.billing.relative_stds()),
    )


def _bank(
    bank: LinearBank, rows: NDArray[np.float32], *, base: FrozenBank | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    means = (rows @ bank.means.T).astype(np.float64)
    if base is not None:
        means += base.predict_rows(rows)
    stds = np.empty_like(means)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        spread = np.matmul(part[None], bank.covariances)  # (K, rows, D)
        variances = (spread * part[None]).sum(axis=2)
        stds[start : start + _ROWS] = np.sqrt(np.maximum(variances, 0.0)).T
    return means, stds
