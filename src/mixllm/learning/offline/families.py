"""The paper's regressors, fitted by scikit-learn and frozen into arrays: forests, perceptrons, nearest neighbours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, MissingExtraError
from mixllm.interfaces import FloatArray
from mixllm.learning.offline.family import FitOne
from mixllm.predictors import FrozenForest, FrozenLinear, FrozenMLP, FrozenNeighbours, Weighting, unit_rows
from mixllm.units import fraction, positive

__all__ = [
    "MIN_FIT_ROWS",
    "ForestParameters",
    "KNNParameters",
    "MLPParameters",
    "fit_forest",
    "fit_knn",
    "fit_mlp",
    "fit_ridge",
    "freeze_forest",
    "freeze_mlp",
    "grown_forest",
    "known_rows",
    "paper_fitters",
    "trained_mlps",
]

MIN_FIT_ROWS = 20
"""With fewer known targets nothing is fitted."""

_FEATURE = "Fitting offline predictors"
_EXTRA = "fit"
_CONSTANT = 1e-6
_MAX_SEED = 2**31
_MIN_STEPS = 16
"""Gradient steps of an epoch, at least: few rows would else leave the weights where they started."""


def _count(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise InvalidValueError(name, value, f"an integer between 1 and {most}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestParameters:
    """How a random forest is grown.

    Parameters
    ----------
    trees, max_depth
        Size; both bound the time of a prediction.
    min_leaf
        Rows in a leaf, at least.
    max_features
        Share of the features that each split may choose from.
    max_samples
        Share of the rows that each tree sees.
    """

    trees: int = 50
    max_depth: int = 8
    min_leaf: int = 10
    max_features: float = 0.1
    max_samples: float = 0.3

    def __post_init__(self) -> None:
        for name, most in (("trees", 500), ("max_depth", 16), ("min_leaf", 100_000)):
            _count(name, getattr(self, name), most)
        for name in ("max_features", "max_samples"):
            positive(name, fraction(name, getattr(self, name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MLPParameters:
    """How a perceptron is trained.

    Parameters
    ----------
    hidden
        Units of each hidden layer.
    penalty
        Weight of the squared weights (scikit-learn's ``alpha``), on standardised features and targets.
    epochs
        Passes over the rows, at most; training stops earlier when a held-out tenth no longer improves.
    batch_rows
        Rows of one gradient step; fewer where that would leave less than 16 steps an epoch.
    learning_rate
        Of Adam.
    """

    hidden: tuple[int, ...] = (32,)
    penalty: float = 10.0
    epochs: int = 25
    batch_rows: int = 512
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        if not 1 <= len(self.hidden) <= 4:
            raise InvalidValueError("hidden", self.hidden, "1 to 4 layers")
        for units in self.hidden:
            _count("hidden", units, 1024)
        for name, most in (("epochs", 10_000), ("batch_rows", 1_000_000)):
            _count(name, getattr(self, name), most)
        for name in ("penalty", "learning_rate"):
            positive(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class KNNParameters:
    """What nearest neighbours keep and how they are averaged.

    Parameters
    ----------
    neighbours
        k; fewer where there are fewer rows.
    weighting
        ``uniform`` or ``distance``.
    max_rows
        Rows kept, drawn at random where there are more: it bounds the memory, and the time of a prediction.
    """

    neighbours: int = 50
    weighting: Weighting = "uniform"
    max_rows: int = 2_000

    def __post_init__(self) -> None:
        _count("neighbours", self.neighbours, 10_000)
        _count("max_rows", self.max_rows, 100_000)
        if self.weighting not in ("uniform", "distance"):
            raise InvalidValueError("weighting", self.weighting, "'uniform' or 'distance'")


_FOREST, _MLP, _KNN = ForestParameters(), MLPParameters(), KNNParameters()


def paper_fitters(*, jobs: int = 1) -> dict[str, FitOne]:
    """Return the grid that competes by default, by name: small, since each of them is fitted folds + 1 times.

    Parameters
    ----------
    jobs
        Threads that grow a forest.
    """
    grid: Mapping[str, FitOne] = {
        "forest": partial(fit_forest, jobs=jobs),
        "mlp": fit_mlp,
        "knn-20": partial(fit_knn, parameters=KNNParameters(neighbours=20, weighting="distance")),
        "knn-80": partial(fit_knn, parameters=KNNParameters(neighbours=80)),
    }
    return dict(grid)


def fit_forest(
    features: FloatArray,
    targets: FloatArray,
    *,
    rng: np.random.Generator,
    parameters: ForestParameters = _FOREST,
    jobs: int = 1,
) -> FrozenForest:
    """Return a random forest fitted to `targets`, shape (n,), at `features`, shape (n, D).

    Rows whose target is NaN are left out. The number of threads, `jobs`, does not change the forest.

    Raises
    ------
    MissingExtraError
        Where scikit-learn is not installed.
    InvalidValueError
        Where shapes do not fit, a feature is not finite, or fewer than `MIN_FIT_ROWS` targets are known.
    """
    rows, known = known_rows(features, targets)
    return freeze_forest(grown_forest(rows, known, rng=rng, parameters=parameters, jobs=jobs))


def grown_forest(
    rows: NDArray[np.float64],
    targets: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    parameters: ForestParameters,
    jobs: int = 1,
) -> Any:
    """Return scikit-learn's forest of `targets`, shape (n,) or (n, K), all known, at `rows`, shape (n, D)."""
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError as error:
        raise MissingExtraError(_FEATURE, _EXTRA) from error
    forest = RandomForestRegressor(
        n_estimators=parameters.trees,
        max_depth=parameters.max_depth,
        min_samples_leaf=min(parameters.min_leaf, len(rows)),
        max_features=parameters.max_features,
        max_samples=parameters.max_samples,
        random_state=int(rng.integers(_MAX_SEED)),
        n_jobs=jobs,
    )
    return forest.fit(rows.astype(np.float32), targets)


def fit_mlp(
    features: FloatArray,
    targets: FloatArray,
    *,
    rng: np.random.Generator,
    parameters: MLPParameters = _MLP,
) -> FrozenMLP:
    """Return a perceptron fitted to `targets`, shape (n,), at `features`, shape (n, D).

    Features and targets are standardised for the training, and the scales folded into the first and the last layer.
    A feature that is constant in training gets no weight; a constant target gives that constant. Rows whose target is
    NaN are left out. Raises as `fit_forest` does.
    """
    rows, known = known_rows(features, targets)
    return trained_mlps(rows, known[:, None], rng=rng, parameters=parameters)[0]


def trained_mlps(
    rows: NDArray[np.float64], targets: NDArray[np.float64], *, rng: np.random.Generator, parameters: MLPParameters
) -> tuple[FrozenMLP, ...]:
    """Return perceptrons of the K columns of `targets`, shape (n, K), all known, that share their hidden units."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor
    except ImportError as error:
        raise MissingExtraError(_FEATURE, _EXTRA) from error
    centre, scale = rows.mean(axis=0), rows.std(axis=0)
    varies = scale > _CONSTANT
    inverse = np.where(varies, 1.0 / np.where(varies, scale, 1.0), 0.0)
    levels, spreads = targets.mean(axis=0), targets.std(axis=0)
    scaled = (targets - levels) / np.maximum(spreads, _CONSTANT)
    model = MLPRegressor(
        hidden_layer_sizes=parameters.hidden,
        alpha=parameters.penalty,
        batch_size=max(1, min(parameters.batch_rows, len(rows) // _MIN_STEPS)),
        learning_rate_init=parameters.learning_rate,
        max_iter=parameters.epochs,
        early_stopping=True,
        n_iter_no_change=5,
        random_state=int(rng.integers(_MAX_SEED)),
    )
    with warnings.catch_warnings():
        # The number of epochs is a bound on time: reaching it is no fault.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((rows - centre) * inverse, scaled[:, 0] if scaled.shape[1] == 1 else scaled)
    return tuple(
        freeze_mlp(model, centre=centre, inverse_scale=inverse, level=float(level), spread=float(spread), output=column)
        for column, (level, spread) in enumerate(zip(levels, spreads, strict=True))
    )


def fit_knn(
    features: FloatArray,
    targets: FloatArray,
    *,
    rng: np.random.Generator,
    parameters: KNNParameters = _KNN,
) -> FrozenNeighbours:
    """Return the neighbours of `features`, shape (n, D), with `targets`, shape (n,); needs no scikit-learn.

    Rows whose target is NaN are left out. LLMs that were judged on the same queries share one index where they are
    fitted with generators in the same state. Raises `InvalidValueError` as `fit_forest` does.
    """
    rows, known = known_rows(features, targets)
    if len(known) > parameters.max_rows:
        kept = np.sort(rng.choice(len(known), parameters.max_rows, replace=False))
        rows, known = rows[kept], known[kept]
    return FrozenNeighbours(
        vectors=unit_rows(rows.astype(np.float32)),
        targets=known.astype(np.float32),
        neighbours=min(parameters.neighbours, len(known)),
        weighting=parameters.weighting,
    )


def fit_ridge(
    features: FloatArray,
    targets: FloatArray,
    *,
    rng: np.random.Generator | None = None,
    precision: float = 10.0,
) -> FrozenLinear:
    """Return w = (ZᵀZ + P)⁻¹Zᵀy, with P = `precision` on the diagonal but for the last feature, the constant.

    A plain baseline of one LLM, where no Bayesian linear model is at hand; nothing is drawn. Needs no scikit-learn.
    """
    del rng
    rows, known = known_rows(features, targets)
    penalty = np.full(rows.shape[1], positive("precision", precision))
    penalty[-1] = 1e-9 * len(known)
    return FrozenLinear(weights=np.linalg.solve(rows.T @ rows + np.diag(penalty), rows.T @ known))


def freeze_forest(forest: Any, *, output: int = 0) -> FrozenForest:
    """Return one target of a fitted ``RandomForestRegressor`` (or ``ExtraTreesRegressor``) as arrays.

    scikit-learn compares float32 features with float64 thresholds. A threshold rounded *down* to float32 decides every
    float32 feature alike, so that the frozen forest takes the same branches.
    """
    trees = [estimator.tree_ for estimator in forest.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
    parts: dict[str, list[NDArray[Any]]] = {"feature": [], "threshold": [], "children": [], "value": []}
    for root, tree in zip(roots, trees, strict=True):
        own = np.arange(tree.node_count)
        inner = tree.children_left >= 0
        ways = [np.where(inner, way, own) for way in (tree.children_left, tree.children_right)]
        parts["children"].append(np.stack(ways, axis=1) + root)
        parts["feature"].append(np.where(inner, tree.feature, 0))
        parts["threshold"].append(_rounded_down(np.where(inner, tree.threshold, 0.0)))
        parts["value"].append(np.asarray(tree.value)[:, output, 0])
    return FrozenForest(
        features_count=int(forest.n_features_in_),
        roots=roots,
        feature=np.concatenate(parts["feature"]),
        threshold=np.concatenate(parts["threshold"]),
        children=np.concatenate(parts["children"]),
        value=np.concatenate(parts["value"]),
    )


def freeze_mlp(
    model: Any,
    *,
    centre: NDArray[np.float64] | None = None,
    inverse_scale: NDArray[np.float64] | None = None,
    level: float = 0.0,
    spread: float = 1.0,
    output: int = 0,
) -> FrozenMLP:
    """Return a fitted ``MLPRegressor`` with rectified units as arrays, its scaling folded in.

    Parameters
    ----------
    model
        Fitted to (z − `centre`) · `inverse_scale` and to (y − `level`) / `spread`.
    centre, inverse_scale
        Of the features, shape (D,); None: 0 and 1.
    level, spread
        Of the target.
    output
        Which of the targets.
    """
    if model.activation != "relu" or model.out_activation_ != "identity":
        raise InvalidValueError("model", (model.activation, model.out_activation_), "of relu units, identity output")
    weights = [np.asarray(matrix, np.float64) for matrix in model.coefs_]
    biases = [np.asarray(bias, np.float64) for bias in model.intercepts_]
    if inverse_scale is not None:
        weights[0] = weights[0] * inverse_scale[:, None]
    if centre is not None:
        biases[0] = biases[0] - centre @ weights[0]
    one = slice(output, output + 1)
    weights[-1], biases[-1] = weights[-1][:, one] * spread, biases[-1][one] * spread + level
    return FrozenMLP(
        weights=tuple(matrix.astype(np.float32) for matrix in weights),
        biases=tuple(bias.astype(np.float32) for bias in biases),
    )


def _rounded_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    narrow = threshold.astype(np.float32)
    return np.where(narrow > threshold, np.nextafter(narrow, np.float32(-np.inf)), narrow)


def known_rows(features: FloatArray, targets: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rows whose target is known and their targets, or raise `InvalidValueError` where few are."""
    rows, values = np.asarray(features), np.asarray(targets, np.float64)
    if rows.ndim != 2 or values.shape != rows.shape[:1]:
        raise InvalidValueError("targets", values.shape, f"one for each of the features' rows, {rows.shape[:1]}")
    if not np.isfinite(rows).all():
        raise InvalidValueError("features", "a number that is not finite", "finite")
    if np.isinf(values).any():
        raise InvalidValueError("targets", "an infinite number", "finite, or NaN where not known")
    known = ~np.isnan(values)
    if known.sum() < MIN_FIT_ROWS:
        raise InvalidValueError("targets", f"{int(known.sum())} known", f"at least {MIN_FIT_ROWS} known numbers")
    return rows[known].astype(np.float64), values[known]
