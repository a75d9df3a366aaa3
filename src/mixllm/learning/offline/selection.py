"""Which family of regressors serves which LLM: cross-validation on the training data alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.learning.offline.family import Family, FitOne, fit_columns
from mixllm.predictors import FrozenRegressor
from mixllm.types import Value
from mixllm.units import non_negative

__all__ = [
    "BASELINE",
    "FamilyChoice",
    "FamilyScore",
    "OutOfFold",
    "choose_families",
    "choose_from",
    "cross_validate",
    "fit_chosen",
]

BASELINE = "linear"
"""The family that wins unless another is better beyond doubt."""

_MIN_PAIRED_ROWS = 2


class FamilyScore(Value, frozen=True, kw_only=True):
    """How one family predicts one LLM, out of fold.

    Parameters
    ----------
    llm, family
        Names.
    rows
        Queries with a known target.
    mse, mse_se
        Mean squared error over them and its standard error; None where the family made no prediction.
    gain, gain_se
        By how much the baseline's mean squared error is larger, and the standard error of that difference, paired
        by query; None where either made no prediction.
    chosen
        Whether the family serves the LLM.
    """

    llm: str
    family: str
    rows: int
    mse: float | None
    mse_se: float | None
    gain: float | None
    gain_se: float | None
    chosen: bool


class FamilyChoice(Value, frozen=True, kw_only=True):
    """The family of each LLM, with the scores that it was chosen by.

    Parameters
    ----------
    baseline
        The family that is preferred.
    folds
        Folds of the cross-validation.
    tolerance
        Share of the baseline's error that another family had to gain beyond one standard error.
    llms
        Names of the LLMs, in the order of the targets' columns.
    families
        The chosen family of each of them.
    scores
        LLM by LLM, family by family.
    free
        Whether the baseline was only a yardstick.
    """

    baseline: str
    folds: int
    tolerance: float
    llms: tuple[str, ...]
    families: tuple[str, ...]
    scores: tuple[FamilyScore, ...]
    free: bool = False

    def family_of(self, llm: str) -> str:
        """Return the chosen family of `llm`; raises `InvalidValueError` where it was not among the LLMs."""
        if llm not in self.llms:
            raise InvalidValueError("llm", llm, f"one of {', '.join(self.llms)}")
        return self.families[self.llms.index(llm)]

    def as_rows(self) -> list[dict[str, str | int | float | bool | None]]:
        """Return the scores as rows of a table, JSON-ready."""
        return [{field: getattr(score, field) for field in FamilyScore.__struct_fields__} for score in self.scores]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutOfFold:
    """Predictions for rows by models that have not seen them.

    Parameters
    ----------
    targets
        What was to be predicted, shape (n, K), NaN where not known.
    predictions
        Of each family, shape (n, K), NaN where none was made.
    fold
        The fold that each row was held out in, shape (n,).
    folds
        Their number.
    """

    targets: NDArray[np.float64]
    predictions: Mapping[str, NDArray[np.float64]]
    fold: NDArray[np.intp]
    folds: int


def choose_families(
    features: FloatArray,
    targets: FloatArray,
    families: Mapping[str, Family],
    *,
    folds: int = 3,
    rng: np.random.Generator,
    tolerance: float = 0.0,
    baseline: str = BASELINE,
    llms: Sequence[str] | None = None,
) -> FamilyChoice:
    """Choose a family for each LLM by cross-validation; give it training data only.

    Parameters
    ----------
    features
        z of the training queries, shape (n, D).
    targets
        One column per LLM, shape (n, K), NaN where not known.
    families
        By name; `baseline` must be among them.
    folds
        Number of folds; queries are dealt to them at random.
    rng
        Deals the queries, and seeds the fits.
    tolerance
        See `choose_from`.
    baseline
        Name of the preferred family, the (Bayesian) linear model.
    llms
        Names of the columns; None: "0", "1" and so on.

    See Also
    --------
    cross_validate, choose_from : the two steps, where the out-of-fold predictions are wanted too (for calibration).
    """
    if baseline not in families:
        raise InvalidValueError("baseline", baseline, f"one of {', '.join(families)}")
    validated = cross_validate(features, targets, families, folds=folds, rng=rng)
    return choose_from(validated, tolerance=tolerance, baseline=baseline, llms=llms)


def cross_validate(
    features: FloatArray,
    targets: FloatArray,
    families: Mapping[str, Family],
    *,
    folds: int = 3,
    rng: np.random.Generator,
) -> OutOfFold:
    """Predict every row by models that were fitted to the other folds; parameters as in `choose_families`.

    All LLMs' targets of one query are held out together: no model sees another LLM's answer to a query that it is
    judged on.
    """
    values = _checked_targets(features, targets)
    rows = len(values)
    if not 2 <= folds <= rows:
        raise InvalidValueError("folds", folds, f"between 2 and the number of rows, {rows}")
    if not families:
        raise InvalidValueError("families", "none", "at least one")
    fold = rng.permutation(rows) % folds
    predictions = {name: np.full(values.shape, np.nan) for name in families}
    for held_out in range(folds):
        test = fold == held_out
        # Each family has its own generator: adding a family changes no other's draws.
        seed = int(rng.integers(2**63))
        for name, family in families.items():
            fitted = family(features[~test], values[~test], rng=np.random.default_rng(seed))
            predicted = np.asarray(fitted.predict_rows(features[test]), np.float64)
            if predicted.shape != values[test].shape:
                raise InvalidValueError(f"predictions of {name}", predicted.shape, f"of shape {values[test].shape}")
            predictions[name][test] = predicted
    return OutOfFold(targets=values, predictions=predictions, fold=fold, folds=folds)


def choose_from(
    validated: OutOfFold,
    *,
    tolerance: float = 0.0,
    baseline: str = BASELINE,
    llms: Sequence[str] | None = None,
    free: bool = False,
) -> FamilyChoice:
    """Choose a family for each LLM from out-of-fold predictions.

    Parameters
    ----------
    validated
        What `cross_validate` gave.
    tolerance
        Share of the baseline's mean squared error that another family must gain beyond one standard error, >= 0.
    baseline, llms
        As in `choose_families`.
    free
        Whether the baseline is only a yardstick: of the others, the one of the smallest mean squared error then serves
        an LLM, and the baseline those LLMs of which none of them made a prediction.

    Notes
    -----
    The one-standard-error rule in favour of the baseline, on paired errors: with g = (y − ŷ_baseline)² − (y − ŷ)² for
    each query, a family may replace the baseline where mean(g) > se(g) + tolerance · mse of the baseline, with
    se(g) = std(g)/√n; of those that may, the one of the smallest mean squared error does. Pairing matters: the errors
    of two regressors of the same 0/1 quality are almost all noise that they have in common, and the standard error of a
    single mse, over a few folds, would drown every difference. The queries of a fold share a fitted model, so that
    se(g) is somewhat too small.
    """
    non_negative("tolerance", tolerance)
    if baseline not in validated.predictions:
        raise InvalidValueError("baseline", baseline, f"one of {', '.join(validated.predictions)}")
    count = validated.targets.shape[1]
    names = tuple(str(column) for column in range(count)) if llms is None else tuple(llms)
    if len(names) != count or len(set(names)) != count:
        raise InvalidValueError("llms", names, f"{count} different names, one for each column of the targets")
    chosen: list[str] = []
    scores: list[FamilyScore] = []
    for column, llm in enumerate(names):
        columns = _scores(validated, column, llm=llm, baseline=baseline)
        winner = _best(columns, baseline) if free else _winner(columns, tolerance=tolerance, baseline=baseline)
        chosen.append(winner)
        scores.extend(_with_choice(score, winner) for score in columns)
    return FamilyChoice(
        baseline=baseline,
        folds=validated.folds,
        tolerance=float(tolerance),
        llms=names,
        families=tuple(chosen),
        scores=tuple(scores),
        free=free,
    )


def fit_chosen(
    choice: FamilyChoice,
    features: FloatArray,
    targets: FloatArray,
    fitters: Mapping[str, FitOne],
    *,
    rng: np.random.Generator,
) -> tuple[FrozenRegressor | None, ...]:
    """Fit each LLM's chosen family to all training data.

    Parameters
    ----------
    choice
        What `choose_families` gave.
    features, targets
        The same training data.
    fitters
        By the names of the families; a chosen family without one, such as the baseline that learns online, gives None.
    rng
        Seeds the fits.
    """
    values = _checked_targets(features, targets)
    if values.shape[1] != len(choice.llms):
        raise InvalidValueError("targets", values.shape, f"with {len(choice.llms)} columns, one for each LLM")
    return fit_columns([fitters.get(name) for name in choice.families], features, values, rng=rng, min_rows=1)


def _scores(validated: OutOfFold, column: int, *, llm: str, baseline: str) -> list[FamilyScore]:
    known = ~np.isnan(validated.targets[:, column])
    target = validated.targets[known, column]
    losses = {name: (made[known, column] - target) ** 2 for name, made in validated.predictions.items()}
    scores = []
    for name, loss in losses.items():
        mse, mse_se = _mean_and_se(loss)
        gain, gain_se = _mean_and_se(losses[baseline] - loss)
        scores.append(
            FamilyScore(
                llm=llm,
                family=name,
                rows=len(target),
                mse=mse,
                mse_se=mse_se,
                gain=gain,
                gain_se=gain_se,
                chosen=False,
            )
        )
    return scores


def _winner(scores: Sequence[FamilyScore], *, tolerance: float, baseline: str) -> str:
    base = next(score for score in scores if score.family == baseline)
    if base.mse is None:
        # The baseline may only be replaced by what was measured against it.
        return baseline
    better = [
        (score.mse, score.family)
        for score in scores
        if score.mse is not None
        and score.gain is not None
        and score.gain_se is not None
        and score.gain > score.gain_se + tolerance * base.mse
    ]
    return min(better)[1] if better else baseline


def _best(scores: Sequence[FamilyScore], baseline: str) -> str:
    others = [(score.mse, score.family) for score in scores if score.mse is not None and score.family != baseline]
    return min(others)[1] if others else baseline


def _with_choice(score: FamilyScore, winner: str) -> FamilyScore:
    return FamilyScore(
        **{field: getattr(score, field) for field in FamilyScore.__struct_fields__ if field != "chosen"},
        chosen=score.family == winner,
    )


def _mean_and_se(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    if len(values) < _MIN_PAIRED_ROWS or not np.isfinite(values).all():
        return None, None
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _checked_targets(features: FloatArray, targets: FloatArray) -> NDArray[np.float64]:
    values = np.asarray(targets, np.float64)
    if np.ndim(features) != 2 or values.ndim != 2 or len(values) != len(features) or 0 in values.shape:
        shapes = (np.shape(features), values.shape)
        raise InvalidValueError("targets", shapes, "of shape (n, K) beside features of shape (n, D)")
    if np.isinf(values).any():
        raise InvalidValueError("targets", "an infinite number", "finite, or NaN where not known")
    return values
