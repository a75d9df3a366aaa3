"""Each LLM gets the family that its own data call for, and the linear one where they call for none."""

from __future__ import annotations

from functools import partial

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.interfaces import FloatArray
from mixllm.learning.offline import (
    Family,
    FamilyChoice,
    FitOne,
    ForestParameters,
    KNNParameters,
    OutOfFold,
    PoolRegressor,
    choose_families,
    choose_from,
    cross_validate,
    fit_chosen,
    fit_forest,
    fit_knn,
    fit_ridge,
    per_llm,
)

FOREST = ForestParameters(trees=15, max_depth=4, min_leaf=5, max_features=1.0, max_samples=0.7)
FITTERS: dict[str, FitOne] = {
    "forest": partial(fit_forest, parameters=FOREST),
    "knn": partial(fit_knn, parameters=KNNParameters(neighbours=30)),
}
FAMILIES: dict[str, Family] = {"linear": per_llm(fit_ridge), **{name: per_llm(fit) for name, fit in FITTERS.items()}}
LLMS = ("step", "line", "noise", "new")


def planted(rows: int = 900) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """0/1 qualities of a step function, a linear one and noise; and an LLM that hardly anybody judged."""
    rng = np.random.default_rng(1)
    z = rng.uniform(-1, 1, (rows, 5)).astype(np.float32)
    z[:, -1] = 1.0
    step = np.where(np.abs(z[:, 0]) > 0.5, 0.9, 0.1)
    line = 0.5 + 0.45 * z[:, 1].astype(np.float64)
    y = (rng.random((rows, 4)) < np.stack([step, line, np.full(rows, 0.6), np.full(rows, 0.6)], axis=1)).astype(
        np.float64
    )
    y[10:, 3] = np.nan
    return z, y


@pytest.fixture(scope="module")
def choice() -> FamilyChoice:
    return choose_families(*planted(), FAMILIES, rng=np.random.default_rng(0), llms=LLMS)


def test_each_llm_gets_the_family_of_its_truth(choice: FamilyChoice) -> None:
    assert choice.families == ("forest", "linear", "linear", "linear")
    assert choice.family_of("step") == "forest"
    with pytest.raises(InvalidValueError, match="llm must be one of step, line, noise, new"):
        choice.family_of("other")


def test_the_table_says_why(choice: FamilyChoice) -> None:
    rows = choice.as_rows()
    assert [(row["llm"], row["family"]) for row in rows] == [(llm, family) for llm in LLMS for family in FAMILIES]
    by_name = {(score.llm, score.family): score for score in choice.scores}
    forest, line = by_name["step", "forest"], by_name["step", "linear"]
    assert forest.mse is not None
    assert line.mse is not None
    assert forest.mse < 0.15 < 0.2 < line.mse
    assert forest.gain == pytest.approx(line.mse - forest.mse)
    assert (line.gain, line.gain_se) == (0.0, 0.0)
    assert [score.chosen for score in choice.scores if score.llm == "step"] == [False, True, False]
    assert by_name["new", "forest"].mse is None
    assert by_name["new", "forest"].rows == 10
    assert msgspec.json.decode(msgspec.json.encode(choice), type=FamilyChoice) == choice


def test_the_chosen_are_fitted_to_everything(choice: FamilyChoice) -> None:
    z, y = planted()
    models = fit_chosen(choice, z, y, FITTERS, rng=np.random.default_rng(0))
    assert [None if model is None else model.kind for model in models] == ["forest", None, None, None]
    assert models[0] is not None
    assert models[0].predict(np.array([[0.9, 0, 0, 0, 1], [0.0, 0, 0, 0, 1]])) == pytest.approx([0.9, 0.1], abs=0.1)
    with pytest.raises(InvalidValueError, match="with 4 columns"):
        fit_chosen(choice, z, y[:, :2], FITTERS, rng=np.random.default_rng(0))


def test_is_repeatable_and_another_family_changes_no_score(choice: FamilyChoice) -> None:
    fewer = {name: FAMILIES[name] for name in ("linear", "forest")}
    again = choose_families(*planted(), fewer, rng=np.random.default_rng(0), llms=LLMS)
    assert again.scores == tuple(score for score in choice.scores if score.family != "knn")


class _Witness:
    """A family that remembers which rows it was fitted to, and predicts the mean."""

    def __init__(self) -> None:
        self.seen: list[set[float]] = []

    def __call__(
        self, features: FloatArray, targets: NDArray[np.float64], *, rng: np.random.Generator
    ) -> PoolRegressor:
        seen = {float(row[0]) for row in features}
        self.seen.append(seen)
        witness = self

        class Mean:
            def predict_rows(self, features: FloatArray) -> NDArray[np.float64]:
                assert not seen & {float(row[0]) for row in features}, "predicts what it was fitted to"
                assert len(witness.seen) > 0
                return np.tile(np.nanmean(targets, axis=0), (len(features), 1))

        return Mean()


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_no_row_is_predicted_by_a_model_that_saw_it(folds: int) -> None:
    z, y = np.arange(40, dtype=np.float64)[:, None], np.arange(80, dtype=np.float64).reshape(40, 2)
    witness = _Witness()
    validated = cross_validate(z, y, {"linear": witness}, folds=folds, rng=np.random.default_rng(0))
    assert len(witness.seen) == folds
    assert not np.isnan(validated.predictions["linear"]).any()
    sizes = np.bincount(validated.fold)
    assert sizes.sum() == 40
    assert sizes.max() - sizes.min() <= 1
    for held_out in range(folds):
        expected = y[validated.fold != held_out].mean(axis=0)
        assert validated.predictions["linear"][validated.fold == held_out] == pytest.approx(
            np.tile(expected, (sizes[held_out], 1))
        )


def made(losses: dict[str, list[float]]) -> OutOfFold:
    """Out-of-fold predictions of zeros with these squared errors."""
    predictions = {name: np.sqrt(np.array(values))[:, None] for name, values in losses.items()}
    rows = len(next(iter(losses.values())))
    return OutOfFold(
        targets=np.zeros((rows, 1)), predictions=predictions, fold=np.arange(rows, dtype=np.intp) % 2, folds=2
    )


def test_the_rule_is_one_paired_standard_error_and_the_tolerance() -> None:
    base = [1.0, 2.0, 3.0, 4.0]
    surely = [value - 0.5 for value in base]
    unsure = [0.0, 3.0, 2.0, 4.5]  # Better on average, but not on every query.
    assert choose_from(made({"linear": base, "other": surely})).families == ("other",)
    assert choose_from(made({"linear": base, "other": surely}), tolerance=0.19).families == ("other",)
    assert choose_from(made({"linear": base, "other": surely}), tolerance=0.21).families == ("linear",)
    assert choose_from(made({"linear": base, "other": unsure})).families == ("linear",)
    assert choose_from(made({"linear": base, "other": base})).families == ("linear",)
    assert choose_from(made({"linear": base, "a": surely, "b": [v - 0.7 for v in base]})).families == ("b",)
    # The best on average is in doubt, the second best is not.
    lucky = [0.0, 0.0, 0.0, 7.5]
    assert choose_from(made({"linear": base, "lucky": lucky, "sure": surely})).families == ("sure",)
    assert choose_from(made({"x": surely, "y": base}), baseline="y").families == ("x",)


def test_a_family_without_a_prediction_is_never_chosen() -> None:
    base = [1.0, 2.0, 3.0, 4.0]
    gap = [0.0, 0.0, 0.0, np.nan]
    assert choose_from(made({"linear": base, "other": gap})).families == ("linear",)
    assert choose_from(made({"linear": gap, "other": base})).families == ("linear",)


def test_bad_input_is_refused() -> None:
    z, y = planted(30)
    rng = np.random.default_rng(0)
    for features, targets in ((z, y[:-1]), (z, y[:, 0]), (z[:, 0], y), (z, y[:, :0])):
        with pytest.raises(InvalidValueError, match="targets must be of shape"):
            cross_validate(features, targets, FAMILIES, rng=rng)
    infinite = y.copy()
    infinite[0, 0] = np.inf
    with pytest.raises(InvalidValueError, match="finite, or NaN"):
        cross_validate(z, infinite, FAMILIES, rng=rng)
    for folds in (1, 31):
        with pytest.raises(InvalidValueError, match="folds must be between 2 and the number of rows, 30"):
            cross_validate(z, y, FAMILIES, folds=folds, rng=rng)
    with pytest.raises(InvalidValueError, match="families must be at least one"):
        cross_validate(z, y, {}, rng=rng)
    with pytest.raises(InvalidValueError, match="baseline must be one of forest"):
        choose_families(z, y, {"forest": FAMILIES["forest"]}, rng=rng)
    sound = made({"linear": [1.0, 2.0]})
    with pytest.raises(InvalidValueError, match="baseline must be one of linear"):
        choose_from(sound, baseline="ridge")
    with pytest.raises(InvalidValueError, match="tolerance"):
        choose_from(sound, tolerance=-0.1)
    for llms in (["a", "b"], []):
        with pytest.raises(InvalidValueError, match="llms must be 1 different names"):
            choose_from(sound, llms=llms)


def test_a_family_that_predicts_another_shape_is_refused() -> None:
    def narrow(features: FloatArray, targets: NDArray[np.float64], *, rng: np.random.Generator) -> PoolRegressor:
        return per_llm(fit_ridge)(features, targets[:, :1], rng=rng)

    with pytest.raises(InvalidValueError, match="predictions of linear must be of shape"):
        cross_validate(*planted(200), {"linear": narrow}, rng=np.random.default_rng(0))
