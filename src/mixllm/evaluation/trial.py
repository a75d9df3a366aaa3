"""One contender on one split: learn, choose a trade-off on the training part, predict, and be judged."""

from __future__ import annotations

import math
import time
import zlib

import msgspec
import numpy as np

from mixllm.errors import InvalidValueError
from mixllm.evaluation.contender import Contender, Predictions, SeesOutcomes, Split, TrainingData
from mixllm.evaluation.frontier import Frontier, sweep
from mixllm.evaluation.metrics import TARGET, Metrics, frontier_metrics, realised
from mixllm.evaluation.splits import fold_rows
from mixllm.logs import RoutingLog

__all__ = ["Trial", "run_trial"]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Parameters
    ----------
    metrics
        As shares of the reference LLM's.
    cost, quality
        Corners of the frontier on the test part.
    trade_off
        The trade-off that the training part chose; None is infinity, quality alone.
    fit_s, predict_s
        Time to learn from the whole training part, and to predict the test part.
    total_s
        Time of all, the folds and the sweeps included.
    """

    metrics: Metrics
    cost: list[float]
    quality: list[float]
    trade_off: float | None
    fit_s: float
    predict_s: float
    total_s: float

    def frontier(self) -> Frontier:
        """Return the frontier."""
        return Frontier(cost=np.array(self.cost), quality=np.array(self.quality))


def run_trial(contender: Contender, split: Split, *, tune: bool = True) -> Trial:
    """Let a contender run on a split.

    Parameters
    ----------
    contender
        Learns from the training part, and predicts the test part from texts and vectors alone.
    split
        Judges it by the test part's outcomes.
    tune
        Whether the training part chooses a trade-off for the realised figures, which takes further fits; where not,
        those are of quality alone.

    Raises
    ------
    InvalidValueError
        Where its predictions have another shape than the test part's outcomes.
    """
    start = time.perf_counter()
    training = split.training()
    reference = split.train.column(split.reference)
    unit = float(split.train.cost_usd[:, reference].mean())
    trade_off = math.inf
    if tune:
        trade_off = _tuned_trade_off(contender, training, seed=split.seed, reference=reference, unit=unit)
    before_fit = time.perf_counter()
    contender.fit(training, _rng(split.seed, contender.name, 0))
    before_predict = time.perf_counter()
    if isinstance(contender, SeesOutcomes):
        contender.look(split.test)
    predictions = _checked(contender, contender.predict(split.queries()), split.test)
    after_predict = time.perf_counter()
    test = split.test
    points = sweep(predictions, quality=test.quality, cost_usd=test.cost_usd, reference=reference, cost_unit=unit)
    frontier = points.hull()
    singles = test.mean_cost_usd() / test.mean_cost_usd()[reference]
    metrics = frontier_metrics(
        frontier,
        cheapest=float(singles.min()),
        dearest=float(singles.max()),
        realised_point=realised(
            predictions,
            trade_off=trade_off,
            quality=test.quality,
            cost_usd=test.cost_usd,
            reference=reference,
            cost_unit=unit,
        ),
    )
    return Trial(
        metrics=metrics,
        cost=frontier.cost.tolist(),
        quality=frontier.quality.tolist(),
        trade_off=trade_off if np.isfinite(trade_off) else None,
        fit_s=before_predict - before_fit,
        predict_s=after_predict - before_predict,
        total_s=time.perf_counter() - start,
    )


def _tuned_trade_off(contender: Contender, training: TrainingData, *, seed: int, reference: int, unit: float) -> float:
    """Return the trade-off that reaches the target on held-out folds of the training part."""
    parts: list[Predictions] = []
    held_out: list[np.ndarray] = []
    # The folds are the same for all contenders that ask for the same number of them.
    folds = fold_rows(len(training), folds=contender.folds, rng=np.random.default_rng([seed, contender.folds]))
    for number, (rows, left_out) in enumerate(folds, start=1):
        contender.fit(training.select(rows), _rng(seed, contender.name, number))
        fold = training.select(left_out)
        if isinstance(contender, SeesOutcomes):
            contender.look(fold.log)
        parts.append(_checked(contender, contender.predict(fold.queries()), fold.log))
        held_out.append(left_out)
    rows = np.concatenate(held_out)
    points = sweep(
        Predictions.joined(parts),
        quality=training.log.quality[rows],
        cost_usd=training.log.cost_usd[rows],
        reference=reference,
        cost_unit=unit,
    )
    return points.trade_off_for(TARGET)


def _checked(contender: Contender, predictions: Predictions, log: RoutingLog) -> Predictions:
    if predictions.quality.shape != log.quality.shape:
        raise InvalidValueError(
            f"{contender.name}'s predictions", f"shape {predictions.quality.shape}", f"of shape {log.quality.shape}"
        )
    return predictions


def _rng(seed: int, name: str, fold: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode()), fold])
