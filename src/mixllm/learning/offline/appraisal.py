"""How good a trained model is, on queries that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mixllm.encoders import LexicalEncoder
from mixllm.learning.offline.batch_forecast import BatchForecast, forecast_batch
from mixllm.learning.offline.binned_coverage import MIN_BIN_ROWS, binned_coverage
from mixllm.learning.offline.calibration import coverage
from mixllm.learning.offline.reliability import reliability
from mixllm.learning.offline.training import TrainedModel
from mixllm.learning.offline.training_set import TrainingSet
from mixllm.types import Value

__all__ = ["Appraisal", "LLMAppraisal", "appraise"]

_NORMAL_90 = 1.6449
"""Half-width of a normal's central 90 % in standard deviations."""


class LLMAppraisal(Value, frozen=True, kw_only=True):
    """One LLM's forecasts against what happened.

    Parameters
    ----------
    quality_bias, cost_ratio
        Mean forecast minus mean quality; mean forecast cost over mean cost.
    calibration_error
        Mean gap between forecast and observed quality over bins of equal size.
    quality_coverage
        Share of bins of queries whose mean quality lies in the 90 % interval of the bin; None where the judged
        queries make no bin.
    quality_coverage_by_noise
        The same, had the forecasts no uncertainty of their own: what the scatter of judgements alone covers.
    cost_coverage
        Share of costs that lie in their 90 % interval; None where no cost is known.
    """

    quality_bias: float
    cost_ratio: float | None
    calibration_error: float
    quality_coverage: float | None
    quality_coverage_by_noise: float | None
    cost_coverage: float | None


class Appraisal(Value, frozen=True, kw_only=True):
    """A trained model on held-out queries.

    Parameters
    ----------
    queries
        How many there were.
    tag_accuracy
        Share of labelled queries whose most probable tag is their label; None where none is labelled.
    tag_log_loss
        Mean −log probability of the label.
    llms
        Per LLM.
    """

    queries: int
    tag_accuracy: float | None
    tag_log_loss: float | None
    llms: Mapping[str, LLMAppraisal]


def appraise(model: TrainedModel, data: TrainingSet) -> Appraisal:
    """Compare a model's forecasts with what happened.

    Parameters
    ----------
    model
        What training made.
    data
        Queries that it was not trained on, encoded by the same base encoder.
    """
    encodings = data.encodings
    if isinstance(model.encoder, LexicalEncoder):
        encodings = model.encoder.extend(encodings, data.token_ids or ())
    features = model.features_of(encodings)
    forecast = forecast_batch(model.learner.snapshot(), features, data.tokens_in)
    weights = data.labels.weights
    labelled = np.flatnonzero(weights.sum(axis=1) > 0)
    accuracy = log_loss = None
    if len(labelled):
        probabilities = features[labelled, : weights.shape[1]]
        truth = weights[labelled].argmax(axis=1)
        accuracy = float((probabilities.argmax(axis=1) == truth).mean())
        log_loss = float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-12)).mean())
    return Appraisal(
        queries=len(data),
        tag_accuracy=accuracy,
        tag_log_loss=log_loss,
        llms={llm: _llm(data, forecast, column) for column, llm in enumerate(data.llms)},
    )


def _llm(data: TrainingSet, forecast: BatchForecast, column: int) -> LLMAppraisal:
    judged = ~np.isnan(data.quality[:, column])
    quality, mean = data.quality[judged, column], forecast.quality[judged, column]
    std = forecast.quality_std[judged, column]
    binned = binned_coverage(mean, std, quality) if len(quality) >= MIN_BIN_ROWS else None
    billed = ~np.isnan(data.cost_usd[:, column])
    cost, cost_mean = data.cost_usd[billed, column], forecast.cost_usd[billed, column]
    low, high = cost_interval(cost_mean, forecast.cost_std_usd[billed, column])
    return LLMAppraisal(
        quality_bias=float(mean.mean() - quality.mean()) if len(quality) else 0.0,
        cost_ratio=float(cost_mean.mean() / cost.mean()) if len(cost) and cost.mean() > 0 else None,
        calibration_error=reliability(mean, quality).ece if len(quality) else 0.0,
        quality_coverage=None if binned is None else binned.covered,
        quality_coverage_by_noise=None if binned is None else binned.covered_by_noise,
        cost_coverage=coverage(low, high, cost).covered if len(cost) else None,
    )


def cost_interval(
    mean: NDArray[np.float64], std: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the central 90 % of lognormal costs with this mean and standard deviation."""
    variance = np.log1p((std / np.maximum(mean, 1e-300)) ** 2)
    centre = np.log(np.maximum(mean, 1e-300)) - variance / 2
    half = _NORMAL_90 * np.sqrt(variance)
    return np.exp(centre - half), np.exp(centre + half)
