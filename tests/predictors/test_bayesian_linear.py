"""The Bayesian linear model against the textbook, by dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError, StateError
from mixllm.predictors import BayesianLinear, BlockPrior, QualityPredictor
from mixllm.predictors.bayesian_linear import _REFACTOR_EVERY

PRIOR = BlockPrior(tags=3, embedding=4, tag_precision=2.0, embedding_precision=8.0, bias_precision=0.7, bias_mean=0.4)
NOISE = 0.15

Data = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def draw(rng: np.random.Generator, count: int, dimension: int = PRIOR.dimension) -> Data:
    z = rng.normal(size=(count, dimension))
    z[:, -1] = 1.0
    return z, rng.normal(0.5, 1.0, count), rng.uniform(0.2, 3.0, count)


def learned(data: Data, model: BayesianLinear | None = None) -> BayesianLinear:
    model = BayesianLinear(prior=PRIOR, noise_variance=NOISE) if model is None else model
    for z, y, weight in zip(*data, strict=True):
        model.update(z, float(y), weight=float(weight))
    return model


def posterior(data: Data) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and covariance by the definition: N(A⁻¹b, A⁻¹)."""
    z, y, w = data
    precision = np.diag(PRIOR.precision())
    a = precision + z.T @ (z * w[:, None]) / NOISE
    b = precision @ PRIOR.mean() + z.T @ (w * y) / NOISE
    return np.linalg.solve(a, b).astype(np.float64), np.linalg.inv(a).astype(np.float64)


def test_parameters_reach_their_attributes() -> None:
    model = BayesianLinear(prior=PRIOR, noise_variance=NOISE)
    assert model.prior is PRIOR
    assert model.noise_variance == NOISE
    assert model.dimension == 8
    clone = model.clone()
    assert (clone.prior, clone.noise_variance) == (PRIOR, NOISE)
    quality = QualityPredictor(prior=PRIOR, noise_variance=NOISE)
    assert (quality.prior, quality.noise_variance) == (PRIOR, NOISE)


@pytest.mark.parametrize("count", [0, 1, 5, 300])
def test_equals_the_direct_solve(rng: np.random.Generator, count: int) -> None:
    data = draw(rng, count)
    model = learned(data)
    mean, covariance = posterior(data)
    assert np.allclose(model.mean, mean, rtol=1e-9, atol=1e-12)
    assert np.allclose(model.covariance, covariance, rtol=1e-8, atol=1e-12)
    for z in draw(rng, 5)[0]:
        estimate = model.predict(z)
        assert estimate.mean == pytest.approx(z @ mean, rel=1e-9)
        assert estimate.std == pytest.approx(np.sqrt(z @ covariance @ z), rel=1e-8)


def test_looking_changes_nothing_to_the_last_bit(rng: np.random.Generator) -> None:
    z, y, w = data = draw(rng, 100)
    looked, undisturbed = BayesianLinear(prior=PRIOR, noise_variance=NOISE), learned(data)
    for row in range(len(y)):
        looked.predict(z[row])
        looked.update(z[row], float(y[row]), weight=float(w[row]))
        assert np.array_equal(looked.state()["gram"], looked.state()["gram"].T)
        looked.within_sums()
        looked.residual_variance()
    for name, array in undisturbed.state().items():
        assert np.array_equal(array, looked.state()[name])
    assert np.array_equal(undisturbed.covariance, looked.covariance)


def test_features_that_change_after_a_prediction_are_seen(rng: np.random.Generator) -> None:
    z = draw(rng, 1)[0][0]
    model, direct = (BayesianLinear(prior=PRIOR, noise_variance=NOISE) for _ in range(2))
    model.predict(z)
    z[0] += 1.0
    model.update(z, 0.3)
    direct.update(z, 0.3)
    assert np.array_equal(model.covariance, direct.covariance)
    assert model.predict(z) == direct.predict(z)
    with pytest.raises(InvalidValueError, match="features"):
        model.predict(z[None])


def test_another_prior_mean_equals_the_direct_solve(rng: np.random.Generator) -> None:
    z, y, w = data = draw(rng, 40)
    other = rng.normal(size=PRIOR.dimension)
    precision = np.diag(PRIOR.precision())
    direct = np.linalg.solve(precision + z.T @ (z * w[:, None]) / NOISE, precision @ other + z.T @ (w * y) / NOISE)
    assert np.allclose(learned(data).mean_from(other), direct, rtol=1e-9)
    assert np.allclose(learned(data).mean_from(PRIOR.mean()), learned(data).mean, rtol=1e-12)


@pytest.mark.parametrize("count", [0, 1, 25, 400])
def test_residual_variance_equals_the_direct_sum(rng: np.random.Generator, count: int) -> None:
    z, y, w = data = draw(rng, count)
    model = learned(data)
    residuals = y - z @ posterior(data)[0]
    direct = ((w * residuals**2).sum() + 10 * NOISE) / (w.sum() + 10)
    assert model.residual_variance() == pytest.approx(direct, rel=1e-9)


def test_residual_variance_of_exact_targets_is_never_negative(rng: np.random.Generator) -> None:
    model = BayesianLinear(prior=PRIOR, noise_variance=1e-6)
    truth = 1e3 * rng.normal(size=PRIOR.dimension)
    for z in draw(rng, 500)[0]:
        model.update(z, float(z @ truth))
    assert 0 < model.residual_variance() < 1.0


@pytest.mark.parametrize("precision", [1e-3, 0.5, 1.0, 4.0, 1e3])
def test_the_cold_std_is_right_for_every_prior_precision(rng: np.random.Generator, precision: float) -> None:
    """MABWiser's LinUCB inverts it for precisions other than 1."""
    prior = BlockPrior(
        tags=2,
        embedding=3,
        tag_precision=precision,
        embedding_precision=precision,
        bias_precision=precision,
        bias_mean=0,
    )
    for z in draw(rng, 5, prior.dimension)[0]:
        std = BayesianLinear(prior=prior, noise_variance=0.3).predict(z).std
        assert std == pytest.approx(np.linalg.norm(z) / np.sqrt(precision), rel=1e-12)


def test_the_cold_std_is_right_for_unequal_precisions(rng: np.random.Generator) -> None:
    model = BayesianLinear(prior=PRIOR, noise_variance=7.0)
    for z in draw(rng, 5)[0]:
        assert model.predict(z).std == pytest.approx(np.sqrt((z**2 / PRIOR.precision()).sum()), rel=1e-12)
        assert model.predict(z).mean == pytest.approx(PRIOR.bias_mean, rel=1e-12)


def test_rank_one_updates_equal_the_refactored_path(rng: np.random.Generator) -> None:
    data = draw(rng, _REFACTOR_EVERY + 700)
    one_by_one = learned(data)
    refactored = one_by_one.clone()
    refactored.load_state(one_by_one.state())
    assert np.allclose(one_by_one.covariance, refactored.covariance, rtol=1e-7, atol=1e-15)
    assert np.allclose(one_by_one.mean, refactored.mean, rtol=1e-7)
    assert np.allclose(one_by_one.covariance, posterior(data)[1], rtol=1e-7, atol=1e-15)


def test_rounding_errors_are_put_right_now_and_then(rng: np.random.Generator) -> None:
    data = draw(rng, _REFACTOR_EVERY)
    model = BayesianLinear(prior=PRIOR, noise_variance=NOISE)
    model._covariance *= 1.01  # As if rounding had added up.
    model._information += 0.1
    learned((data[0][:-1], data[1][:-1], data[2][:-1]), model)
    assert not np.allclose(model.mean, posterior((data[0][:-1], data[1][:-1], data[2][:-1]))[0], rtol=1e-4)
    learned((data[0][-1:], data[1][-1:], data[2][-1:]), model)
    assert np.allclose(model.mean, posterior(data)[0], rtol=1e-9)
    assert np.allclose(model.covariance, posterior(data)[1], rtol=1e-8, atol=1e-15)


def test_learning_does_not_stop_after_thousands(rng: np.random.Generator) -> None:
    model = QualityPredictor(prior=PRIOR, noise_variance=NOISE)
    z = np.zeros(PRIOR.dimension)
    z[-1] = 1.0
    for _ in range(_REFACTOR_EVERY + 500):
        model.update(z, 0.2)
    old = model.predict(z).mean
    for _ in range(3 * _REFACTOR_EVERY):
        model.update(z, 0.9)
    assert old == pytest.approx(0.2, abs=0.01)
    assert model.predict(z).mean > 0.65
    assert model.observations == 4 * _REFACTOR_EVERY + 500


def test_quality_is_clipped_and_only_fractions_are_learned() -> None:
    model = QualityPredictor(prior=PRIOR, noise_variance=0.01)
    z = np.array([0, 0, 0, 0, 0, 0, 0, 1.0])
    for _ in range(50):
        model.update(z, 1.0)
    assert model.predict(10 * z).mean == 1.0
    assert model.predict(-10 * z).mean == 0.0
    for bad in (-1e-9, 1 + 1e-9, 2, float("nan")):
        with pytest.raises(InvalidValueError, match="target must be between 0 and 1"):
            model.update(z, bad)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"z": 1.1e3}, "features must be finite and within"),
        ({"z": float("nan")}, "features must be finite and within"),
        ({"target": 1.1e9}, "target must be between"),
        ({"target": 10**400}, "target must be a finite number"),
        ({"target": "0.5"}, "target must be a finite number"),
        ({"weight": 1.1e6}, "weight must be at most"),
        ({"weight": 0.0}, "weight must be a finite number > 0"),
    ],
)
def test_observations_that_would_drown_all_others_are_refused(change: dict[str, float], words: str) -> None:
    model = learned(draw(np.random.default_rng(0), 3))
    before = model.state()
    z = np.full(PRIOR.dimension, change.get("z", 0.5))
    with pytest.raises(InvalidValueError, match=words):
        model.update(z, change.get("target", 0.5), weight=change.get("weight", 1.0))
    after = model.state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_largest_observation_leaves_a_state_that_can_be_loaded() -> None:
    model = BayesianLinear(prior=PRIOR, noise_variance=NOISE)
    z = np.full(PRIOR.dimension, 1e3)
    for _ in range(3):
        model.update(z, -1e9, weight=1e6)
    other = model.clone()
    other.load_state(model.state())
    assert np.isfinite(other.predict(z).mean)
    assert np.isfinite(other.residual_variance())


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state["gram"].__setitem__((0, 1), 5.0),
        lambda state: state["gram"].__setitem__((0, 0), -1.0),
        lambda state: state["gram"].__setitem__(slice(None), 1e300),
        lambda state: state["gram"].__imul__(-1.0),
        lambda state: state["moment"].__setitem__(0, 1e300),
        lambda state: state["sums"].__setitem__(0, -1.0),
        lambda state: state["sums"].__setitem__(1, -1.0),
    ],
    ids=["asymmetric", "negative", "huge", "inverted", "huge moment", "negative squares", "negative weights"],
)
def test_a_state_that_no_data_can_have_made_is_refused(rng: np.random.Generator, damage: object) -> None:
    model = learned(draw(rng, 30))
    before = model.state()
    state = model.state()
    assert callable(damage)
    damage(state)
    with pytest.raises(StateError, match="load another checkpoint"):
        model.load_state(state)
    assert all(np.array_equal(before[name], model.state()[name]) for name in before)


def test_models_with_other_parameters_do_not_merge(rng: np.random.Generator) -> None:
    model = learned(draw(rng, 5))
    before = model.state()
    others = [
        BayesianLinear(prior=PRIOR, noise_variance=NOISE + 0.1),
        BayesianLinear(
            prior=BlockPrior(
                tags=3, embedding=4, tag_precision=2.0, embedding_precision=8.0, bias_precision=0.7, bias_mean=0.5
            ),
            noise_variance=NOISE,
        ),
    ]
    for other in others:
        with pytest.raises(InvalidValueError, match="the same prior and noise"):
            model.merge(other)
    assert all(np.array_equal(before[name], model.state()[name]) for name in before)


@pytest.mark.parametrize("noise", [0.0, -1.0, float("nan"), float("inf")])
def test_noise_out_of_range_is_refused(noise: float) -> None:
    with pytest.raises(InvalidValueError, match="noise_variance must be"):
        BayesianLinear(prior=PRIOR, noise_variance=noise)


@given(
    targets=st.lists(st.floats(-100, 100), min_size=1, max_size=20),
    weights=st.lists(st.floats(1e-3, 1e3), min_size=20, max_size=20),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_order_of_learning_does_not_matter(targets: list[float], weights: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = draw(rng, len(targets))[0]
    data: Data = (z, np.array(targets), np.array(weights[: len(targets)]))
    order = rng.permutation(len(targets))
    one, other = learned(data), learned((data[0][order], data[1][order], data[2][order]))
    at = draw(rng, 1)[0][0]
    assert one.predict(at).mean == pytest.approx(other.predict(at).mean, rel=1e-5, abs=1e-6)
    assert one.predict(at).std == pytest.approx(other.predict(at).std, rel=1e-5)
    assert one.residual_variance() > 0


@pytest.mark.parametrize("change", ["update", "update_many", "merge", "load_state"])
def test_what_is_kept_is_made_anew_once_more_is_learned(change: str) -> None:
    prior = BlockPrior(tags=1, embedding=2, tag_precision=1, embedding_precision=2, bias_precision=3, bias_mean=0.5)
    rng = np.random.default_rng(5)
    rows, targets = rng.normal(size=(6, 4)), rng.normal(size=6)
    rows[:, -1] = 1.0
    model, whole = (BayesianLinear(prior=prior, noise_variance=0.3) for _ in range(2))
    model.update_many(rows[:3], targets[:3])
    assert model.within_sums() is model.within_sums()
    before = model.revision, model.within_sums(), model.residual_variance()
    whole.update_many(rows, targets)
    if change == "update":
        for z, y in zip(rows[3:], targets[3:], strict=True):
            model.update(z, float(y))
    elif change == "update_many":
        model.update_many(rows[3:], targets[3:])
    elif change == "merge":
        other = model.clone()
        other.update_many(rows[3:], targets[3:])
        model.merge(other)
    else:
        model.load_state(whole.state())
    assert model.covariance == pytest.approx(whole.covariance, rel=1e-5)
    assert model.residual_variance() == pytest.approx(whole.residual_variance())
    within = model.within_sums()
    gram, sums = rows.T @ rows, rows.sum(axis=0)[:-1]
    assert within.precision == pytest.approx((gram[:-1, :-1] - np.outer(sums, sums) / (6 + 3 * 0.3)) / 0.3)
    assert (within.count, within.total) == pytest.approx((6.0, targets.sum()))
    assert model.revision > before[0]
    assert before[1] is not within
    assert before[2] != model.residual_variance()
