"""What LLMs share, against the mixed model solved in one piece."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from mixllm.errors import InvalidValueError
from mixllm.predictors import BayesianLinear, BlockPrior, LinearBank, pooled_prior_means

NOISE = 0.2
SLOPES = BlockPrior(tags=2, embedding=3, tag_precision=1.5, embedding_precision=6.0, bias_precision=1.0, bias_mean=0.0)

Array = NDArray[np.float64]


def prior(level: float) -> BlockPrior:
    return BlockPrior(
        tags=2, embedding=3, tag_precision=20, embedding_precision=80, bias_precision=3.0, bias_mean=level
    )


def empty(level: float) -> BayesianLinear:
    return BayesianLinear(prior=prior(level), noise_variance=NOISE)


def draw(rng: np.random.Generator, count: int) -> Array:
    z = rng.uniform(-1, 1, (count, SLOPES.dimension))
    z[:, -1] = 1.0
    return z


def learned(rng: np.random.Generator, level: float, slopes: Array, count: int, *, noise: float = 0.3) -> BayesianLinear:
    model = empty(level)
    for z in draw(rng, count):
        model.update(z, float(z[:-1] @ slopes + level + noise * rng.normal()), weight=float(rng.uniform(0.5, 2)))
    return model


def pooled(models: Sequence[BayesianLinear], *, share_level: bool = False) -> Array:
    return pooled_prior_means(models, slopes=SLOPES, share_level=share_level)


def mixed_model(models: Sequence[BayesianLinear]) -> Array:
    """Solve for the shared slopes and every LLM's own level at once: the mode of p(w, a | data)."""
    size, count = SLOPES.dimension - 1, len(models)
    matrix, right = np.zeros((size + count, size + count)), np.zeros(size + count)
    matrix[:size, :size] = np.diag(SLOPES.precision()[:-1])
    for row, model in enumerate(models):
        state, at = model.state(), size + row
        gram, moment = state["gram"] / model.noise_variance, state["moment"] / model.noise_variance
        matrix[:size, :size] += gram[:-1, :-1]
        matrix[:size, at] = matrix[at, :size] = gram[:-1, -1]
        matrix[at, at] = gram[-1, -1] + model.prior.bias_precision
        right[:size] += moment[:-1]
        right[at] = moment[-1] + model.prior.bias_precision * model.prior.bias_mean
    solution: Array = np.linalg.solve(matrix, right)[:size].astype(np.float64)
    return solution


def test_equals_the_mixed_model_solved_in_one_piece(rng: np.random.Generator) -> None:
    slopes = rng.normal(0, 0.4, 5)
    models = [learned(rng, level, slopes, count) for level, count in ((0.3, 40), (0.8, 5), (0.5, 0), (0.6, 1))]
    means = pooled(models)
    assert np.allclose(means[:, :-1], mixed_model(models), rtol=1e-9, atol=1e-12)
    assert means[:, -1].tolist() == [0.3, 0.8, 0.5, 0.6]


def test_equals_the_mixed_model_where_noise_differs(rng: np.random.Generator) -> None:
    slopes = rng.normal(0, 0.4, 5)
    other = BayesianLinear(prior=prior(0.4), noise_variance=5 * NOISE)
    for z in draw(rng, 30):
        other.update(z, float(z[:-1] @ slopes))
    models = [learned(rng, 0.3, slopes, 20), other]
    assert np.allclose(pooled(models)[:, :-1], mixed_model(models), rtol=1e-9, atol=1e-12)


def test_a_cold_llm_predicts_the_shape_of_the_pool(rng: np.random.Generator) -> None:
    slopes = np.array([0.5, -0.4, 0.3, 0.0, -0.2])
    models = [learned(rng, level, slopes, 400) for level in (0.2, 0.5, 0.9)]
    cold = empty(0.65)
    bank = LinearBank.stack([*models, cold], prior_means=pooled([*models, cold]))
    for z in draw(rng, 20):
        means, stds = bank.predict(z)
        assert means[3] == pytest.approx(0.65 + z[:-1] @ slopes, abs=0.06)
        assert stds[3] == pytest.approx(cold.predict(z).std, rel=1e-5), "its uncertainty stays its own"
        assert stds[3] > 2 * stds[:3].max()


def test_levels_do_not_leak_into_the_slopes(rng: np.random.Generator) -> None:
    """A good LLM that got the hard queries, a bad one that got the easy ones: Simpson's paradox."""
    models = []
    for level, sign in ((0.9, 1.0), (0.1, -1.0)):
        model = BayesianLinear(prior=prior(0.5), noise_variance=NOISE)
        for z in draw(rng, 400):
            z[0] = sign * abs(z[0])
            model.update(z, level - 0.3 * z[0])
        models.append(model)
    assert pooled(models)[0, 0] == pytest.approx(-0.3, abs=0.06)


@pytest.mark.parametrize("share_level", [False, True])
@pytest.mark.parametrize("count", [2, 9, 17])
def test_an_llm_without_data_moves_nobody(rng: np.random.Generator, share_level: bool, count: int) -> None:
    """Exactly: not by a rounding error, wherever it stands."""
    slopes = rng.normal(0, 0.4, 5)
    models = [learned(rng, 0.5, slopes, int(rng.integers(1, 12))) for _ in range(count)]
    before = pooled(models, share_level=share_level)
    for place in (1, count // 2, count):
        more = [*models[:place], empty(0.5), *models[place:]]
        after = np.delete(pooled(more, share_level=share_level), place, axis=0)
        assert np.array_equal(after, before)


def test_an_llm_without_data_does_not_even_change_the_rounding(rng: np.random.Generator) -> None:
    """NumPy adds nine numbers in another order than ten."""
    for _ in range(40):
        models = []
        for scale in 10.0 ** rng.uniform(-8, 8, 9):
            model = empty(0.5)
            model.update(np.append(np.zeros(5), 1.0), float(scale), weight=float(rng.uniform(0.1, 10)))
            models.append(model)
        before = pooled(models, share_level=True)[0]
        assert np.array_equal(pooled([models[0], empty(0.5), *models[1:]], share_level=True)[0], before)


def test_merging_and_pooling_commute(rng: np.random.Generator) -> None:
    slopes = rng.normal(0, 0.4, 5)
    here, there = [[learned(rng, level, slopes, 25) for level in (0.3, 0.7)] for _ in range(2)]
    one, other = [model.clone() for model in here], [model.clone() for model in here]
    for target, parts in ((one, (here, there)), (other, (there, here))):
        for part in parts:
            for model, learner in zip(target, part, strict=True):
                model.merge(learner)
    for share_level in (False, True):
        means = pooled(one, share_level=share_level)
        assert np.allclose(means, pooled(other, share_level=share_level), rtol=1e-10, atol=1e-13)
    union = np.stack([learner.state()["moment"] for learner in here]) + np.stack(
        [learner.state()["moment"] for learner in there]
    )
    assert np.allclose(np.stack([model.state()["moment"] for model in one]), union)


def test_a_shared_level_is_the_shrunk_mean_of_all(rng: np.random.Generator) -> None:
    models = [learned(rng, 0.5, np.zeros(5), count) for count in (30, 0, 10)]
    states = [model.state() for model in models]
    strength = 3.0 * NOISE
    total, weight = sum(state["moment"][-1] for state in states), sum(state["gram"][-1, -1] for state in states)
    expected = (0.5 * strength + total) / (strength + weight)
    assert pooled(models, share_level=True)[:, -1] == pytest.approx([expected] * 3)


def test_without_data_everybody_keeps_the_prior() -> None:
    models = [empty(0.2), empty(0.7)]
    assert pooled(models).tolist() == [[0, 0, 0, 0, 0, 0.2], [0, 0, 0, 0, 0, 0.7]]
    assert pooled([]).shape == (0, 6)
    assert pooled([], share_level=True).shape == (0, 6)


def test_the_constant_alone_can_be_pooled() -> None:
    only = BlockPrior(tags=0, embedding=0, tag_precision=1, embedding_precision=1, bias_precision=2, bias_mean=0.5)
    model = BayesianLinear(prior=only, noise_variance=1.0)
    model.update(np.ones(1), 1.0)
    means = pooled_prior_means([model], slopes=only, share_level=True)
    assert means == pytest.approx(np.array([[(0.5 * 2 + 1.0) / 3]]))


def test_models_of_another_dimension_are_refused() -> None:
    other = BlockPrior(tags=0, embedding=1, tag_precision=1, embedding_precision=1, bias_precision=1, bias_mean=0)
    with pytest.raises(InvalidValueError, match="of dimension 6"):
        pooled([empty(0.5), BayesianLinear(prior=other, noise_variance=NOISE)])
