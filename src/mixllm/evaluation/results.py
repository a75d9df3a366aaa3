"""Results in the form that other programs read, and as tables for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from mixllm import __version__
from mixllm.errors import ConfigError
from mixllm.evaluation.bands import BandGain, band_gains
from mixllm.evaluation.metrics import METRICS
from mixllm.evaluation.splits import Dataset
from mixllm.evaluation.trial import Trial

__all__ = ["OURS", "Curve", "DatasetResults", "Number", "Results", "mean_and_error", "summary", "write_results"]

OURS = "mixllm"
"""The router whose gains over the others are reported."""

_GRID = 60


class Number(msgspec.Struct, frozen=True, kw_only=True):
    """A mean over splits and its standard error.

    Parameters
    ----------
    mean
        None where a split did not reach the metric: the mean of the others would be that of the lucky ones.
    se
        Standard error of the mean; None where `mean` is, and for a single split.
    """

    mean: float | None
    se: float | None


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A frontier averaged over splits at the same costs, from where all of them have begun.

    Parameters
    ----------
    cost, quality
        As shares of the reference LLM's.
    se
        Standard error of each quality; 0 for a single split.
    """

    cost: list[float]
    quality: list[float]
    se: list[float]


class DatasetResults(msgspec.Struct, frozen=True, kw_only=True):
    """Results on one log.

    Parameters
    ----------
    reference
        Name of the LLM whose quality and cost are 1.
    splits
        Number of splits.
    routers
        For each router each metric of `Metrics`.
    split_names
        What they are called.
    queries, left_out
        Queries of the log that took part, and those that some LLM was not asked.
    label
        Name of the label that served as tags, or None.
    encoder
        Identity of the encoder.
    reached
        For each router in how many splits each metric was reached.
    seconds
        For each router the mean time to learn from a training part and predict a test part.
    frontiers
        For each router its mean frontier; a router that is one point has none.
    bands
        What `OURS` gains over each other router, by cost; empty where it did not run.
    """

    reference: str
    splits: int
    routers: dict[str, dict[str, Number]]
    split_names: list[str]
    queries: int
    left_out: int
    label: str | None
    encoder: str
    reached: dict[str, dict[str, int]]
    seconds: dict[str, float]
    frontiers: dict[str, Curve]
    bands: dict[str, list[BandGain]]


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a benchmark: the content of ``results.json``.

    Parameters
    ----------
    datasets
        By the logs' names.
    seed
        Of the splits.
    version
        MixLLM's.
    """

    datasets: dict[str, DatasetResults]
    seed: int
    version: str = __version__


def summary(dataset: Dataset, *, splits: Sequence[str], trials: Mapping[str, Sequence[Trial]]) -> DatasetResults:
    """Return the means of every router's trials, one trial for each split."""
    values = {
        router: {metric: [getattr(trial.metrics, metric) for trial in found] for metric in METRICS}
        for router, found in trials.items()
    }
    frontiers = {router: [trial.frontier() for trial in found] for router, found in trials.items()}
    others = [router for router in trials if router != OURS] if OURS in trials else []
    return DatasetResults(
        reference=dataset.reference,
        splits=len(splits),
        routers={
            router: {metric: mean_and_error(numbers) for metric, numbers in metrics.items()}
            for router, metrics in values.items()
        },
        split_names=list(splits),
        queries=len(dataset.log),
        left_out=dataset.left_out,
        label=dataset.label,
        encoder=dataset.encoder.fingerprint,
        reached={
            router: {metric: sum(number is not None for number in numbers) for metric, numbers in metrics.items()}
            for router, metrics in values.items()
        },
        seconds={
            router: round(float(np.mean([trial.fit_s + trial.predict_s for trial in found])), 4)
            for router, found in trials.items()
        },
        frontiers={
            router: curve for router, found in trials.items() if (curve := _mean_curve(found, dataset)) is not None
        },
        bands={router: band_gains(frontiers[OURS], frontiers[router]) for router in others},
    )


def mean_and_error(numbers: Sequence[float | None]) -> Number:
    """Return the mean of numbers and its standard error.

    Examples
    --------
    >>> mean_and_error([0.2, 0.4]), mean_and_error([0.2, None]).mean
    (Number(mean=0.3, se=0.1), None)
    """
    known = [number for number in numbers if number is not None]
    if not known or len(known) < len(numbers):
        return Number(mean=None, se=None)
    error = float(np.std(known, ddof=1)) / math.sqrt(len(known)) if len(known) > 1 else None
    return Number(mean=round(float(np.mean(known)), 6), se=None if error is None else round(error, 6))


def write_results(results: Results, folder: Path) -> None:
    """Write ``results.json`` and ``results.md`` into a folder; raises `ConfigError` where that cannot be done."""
    from mixllm.evaluation.tables import markdown

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
        (folder / "results.md").write_text(markdown(results), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}). Give another folder.") from error


def _mean_curve(trials: Sequence[Trial], dataset: Dataset) -> Curve | None:
    if all(len(trial.cost) == 1 for trial in trials):
        return None
    shares = dataset.log.mean_cost_usd() / dataset.log.mean_cost_usd()[dataset.log.column(dataset.reference)]
    first = max(trial.cost[0] for trial in trials)
    last = max(float(shares.max()), first)
    grid = _grid(first, last)
    qualities = np.array([np.interp(grid, trial.cost, trial.quality) for trial in trials])
    error = qualities.std(axis=0, ddof=1) / math.sqrt(len(trials)) if len(trials) > 1 else np.zeros(len(grid))
    return Curve(
        cost=grid.round(6).tolist(), quality=qualities.mean(axis=0).round(6).tolist(), se=error.round(6).tolist()
    )


def _grid(first: float, last: float) -> NDArray[np.float64]:
    """Return costs that are dense enough on a linear and on a logarithmic axis."""
    lowest = max(first, last * 1e-4, np.finfo(np.float64).tiny)
    dense = np.concatenate([[first], np.geomspace(lowest, max(last, lowest), _GRID), np.linspace(first, last, _GRID)])
    return np.unique(dense.round(6))
