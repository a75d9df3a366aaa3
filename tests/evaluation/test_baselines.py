"""The baselines in worlds in which it is known how they must do."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.evaluation.worlds import ENCODER, domain_data, make_log

from mixllm.errors import InvalidValueError
from mixllm.evaluation.baselines.costs import TokenCosts
from mixllm.evaluation.baselines.knn import Neighbours
from mixllm.evaluation.baselines.low_rank import LowRank, Training
from mixllm.evaluation.baselines.mlp import Perceptron
from mixllm.evaluation.baselines.oracle import Oracle
from mixllm.evaluation.baselines.ridge import Ridge
from mixllm.evaluation.baselines.tag_mean import TagMean
from mixllm.evaluation.contender import Contender
from mixllm.evaluation.registry import ROUTERS, contenders
from mixllm.evaluation.splits import Dataset, prepare, random_splits
from mixllm.evaluation.trial import Trial, run_trial

READERS = ("knn", "tag-mean", "kmeans", "rf", "mlp", "mf", "irt", "carrot")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return domain_data(240)


def trial(name: str, data: Dataset, *, seed: int = 0) -> Trial:
    (contender,) = contenders([name], llms=data.log.llms)
    return run_trial(contender, next(random_splits(data, splits=1, seed=seed)))


def test_the_zero_router_knows_the_llms_and_mixes_them(data: Dataset) -> None:
    split = next(random_splits(data, splits=1, seed=0))
    found = trial("zero", data)
    quality = split.test.mean_quality()
    cheap = int(np.argmax(split.train.mean_quality()[:2]))
    assert found.quality == pytest.approx([quality[cheap], 1.0])
    assert found.cost == pytest.approx([0.1, 1.0])
    # On the line from (0.1, q) to (1, 1):
    assert found.metrics.cost_at_97_25 == pytest.approx(1 - 0.9 * 0.0275 / (1 - quality[cheap]))
    assert found.metrics.cost_at_100 == pytest.approx(1.0)


def test_the_oracle_pays_for_law_alone(data: Dataset) -> None:
    split = next(random_splits(data, splits=1, seed=0))
    law = np.array(split.test.labels["domain"]) == "law"
    found = trial("oracle", data)
    paid = (split.test.cost_usd[law, 2].sum() + split.test.cost_usd[~law, 0].sum()) / split.test.cost_usd[:, 2].sum()
    assert found.metrics.cost_at_100 == pytest.approx(paid)
    assert found.metrics.max_quality == 1.0
    assert found.quality[0] == pytest.approx(1 - law.mean())


@pytest.mark.parametrize("name", READERS)
def test_whoever_reads_does_as_well_as_the_oracle_where_the_text_tells_all(name: str, data: Dataset) -> None:
    oracle, found = trial("oracle", data).metrics, trial(name, data).metrics
    assert oracle.cost_at_97_25 is not None
    assert found.cost_at_97_25 is not None
    assert found.cost_at_97_25 == pytest.approx(oracle.cost_at_97_25, abs=0.05)
    assert found.realised_quality > 0.9
    assert found.realised_cost < 0.55


@pytest.mark.parametrize("name", READERS)
def test_nobody_beats_the_zero_router_by_reading_noise(name: str) -> None:
    rng = np.random.default_rng(3)
    quality = (rng.random((300, 2)) < (0.5, 0.9)).astype(float)
    cost = np.tile([0.1, 1.0], (300, 1))
    data = prepare(
        make_log(quality, cost, prompts=tuple(f"{rng.integers(10**9)}" for _ in range(300))), encoder=ENCODER
    )
    gains = [trial(name, data, seed=seed).metrics.aiq - trial("zero", data, seed=seed).metrics.aiq for seed in range(2)]
    assert np.mean(gains) < 0.06


@pytest.mark.parametrize("name", [*ROUTERS, "single:b"])
def test_the_same_seed_gives_the_same_and_fit_begins_from_nothing(name: str, data: Dataset) -> None:
    split, other = random_splits(data, splits=2, seed=0)
    (contender,) = contenders([name], llms=data.log.llms)
    first = run_trial(contender, split)
    run_trial(contender, other)
    again = run_trial(contender, split)
    assert again.metrics == first.metrics
    assert isinstance(contender, Contender)


@pytest.mark.parametrize("name", ROUTERS)
def test_the_smallest_training_part_is_enough(name: str) -> None:
    log = make_log(np.tile([[0.0, 1.0], [1.0, 1.0]], (5, 1)), np.tile([0.5, 1.0], (10, 1)))
    found = trial(name, prepare(log, encoder=ENCODER))
    assert 0.0 <= found.metrics.max_quality <= 1.0


def test_cheapest_single_and_random_are_one_point(data: Dataset) -> None:
    assert trial("cheapest", data).cost == pytest.approx([0.1])
    dear = trial("single:c", data)
    assert (dear.cost, dear.quality) == ([1.0], [1.0])
    assert (dear.metrics.realised_cost, dear.metrics.realised_quality) == (1.0, 1.0)
    mixed = trial("random", data)
    assert len(mixed.cost) == 1
    assert 0.2 < mixed.cost[0] < 0.6


def test_names_are_checked() -> None:
    llms = ("a", "b")
    assert [router.name for router in contenders(None, llms=llms)] == [*ROUTERS, "single:a", "single:b"]
    with pytest.raises(InvalidValueError, match="nearest"):
        contenders(["nearest"], llms=llms)
    with pytest.raises(InvalidValueError, match="single:z"):
        contenders(["single:z"], llms=llms)
    with pytest.raises(InvalidValueError, match="once"):
        contenders(["single", "single:a"], llms=llms)
    with pytest.raises(InvalidValueError, match="one name"):
        contenders([], llms=llms)


def test_every_router_of_the_design_is_there() -> None:
    promised = {"oracle", "knn", "tag-mean", "kmeans", "rf", "mlp", "mf", "irt", "carrot", "zero", "random", "cheapest"}
    assert promised <= set(ROUTERS)
    for name, make in ROUTERS.items():
        assert make().name == name


def test_knn_is_the_mean_of_the_nearest(data: Dataset) -> None:
    split = next(random_splits(data, splits=1, seed=0))
    router = Neighbours(counts=(7,))
    router.fit(split.training(), np.random.default_rng(0))
    found = router.predict(split.queries())
    likeness = split.test_encodings[0] @ split.train_encodings.T
    order = np.argsort(-likeness)
    if likeness[order[6]] > likeness[order[7]]:
        assert found.quality[0] == pytest.approx(split.train.quality[order[:7]].mean(axis=0))
    assert found.cost_usd[0] == pytest.approx(found.cost_usd[0][[0, 0, 0]] * [1, 1, 10], rel=0.01)


def test_tags_without_a_label_are_clusters() -> None:
    log = domain_data(150).log
    plain = make_log(np.array(log.quality), np.array(log.cost_usd), prompts=log.prompts)
    data = prepare(plain, encoder=ENCODER)
    assert data.label is None
    split = next(random_splits(data, splits=1, seed=0))
    assert run_trial(TagMean(), split).metrics.max_quality > 0.95


def test_ridge_leaves_out_exactly_one_query_at_a_time() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 2))
    penalties = (0.01, 0.1, 1.0, 10.0)

    def left_out_error(penalty: float) -> NDArray[np.float64]:
        errors = []
        for row in range(30):
            keep = np.arange(30) != row
            # The same penalty and centring as the fit on all: its closed form is exact for a fixed total penalty.
            design = np.column_stack([np.ones(29), x[keep] - x.mean(axis=0)])
            shrink = np.diag([0.0, *[30 * penalty] * 4])
            beta = np.linalg.solve(design.T @ design + shrink, design.T @ y[keep])
            errors.append((y[row] - np.array([1.0, *(x[row] - x.mean(axis=0))]) @ beta) ** 2)
        return np.asarray(np.mean(errors, axis=0))

    table = np.array([left_out_error(penalty) for penalty in penalties])
    ridge = Ridge(penalties=penalties)
    ridge.fit(x, y)
    assert ridge.chosen == penalties[int(table.sum(axis=1).argmin())]
    one = Ridge(penalties=(0.1,))
    one.fit(x, y)
    centred = x - x.mean(axis=0)
    beta = np.linalg.solve(centred.T @ centred + 3.0 * np.eye(4), centred.T @ (y - y.mean(axis=0)))
    np.testing.assert_allclose(one.predict(x), centred @ beta + y.mean(axis=0), atol=1e-4)


@pytest.mark.parametrize(("shared", "own"), [(True, False), (False, False), (True, True)])
def test_low_rank_gradients_are_those_of_the_loss(shared: bool, own: bool) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 5)).astype(np.float32), rng.random((20, 3)).astype(np.float32)
    model = LowRank(candidates=(Training(rank=2, decay=0.0, epochs=1),), shared=shared, own=own)
    model.fit(x, y, rng)
    gradients = model._gradients(x, y, 0.0)

    def loss() -> float:
        likely = model.predict(x)
        return float(-np.sum(y * np.log(likely) + (1 - y) * np.log(1 - likely)) / len(x))

    free = [True, True, True, own, shared]
    for parameter, gradient, moves in zip(model._parameters, gradients, free, strict=True):
        if not moves:
            assert not gradient.any()
            continue
        place = np.unravel_index(int(np.abs(gradient).argmax()), gradient.shape)
        kept = parameter[place]
        parameter[place] = kept + 1e-2
        above = loss()
        parameter[place] = kept - 1e-2
        below = loss()
        parameter[place] = kept
        assert (above - below) / 2e-2 == pytest.approx(gradient[place], rel=0.02, abs=1e-3)


def test_costs_follow_the_prompts_length_within_what_was_seen() -> None:
    tokens = np.repeat(np.arange(1.0, 21.0)[:, None], 2, axis=1)
    log = make_log(np.ones((20, 2)), tokens * [1.0, 2.0] + [5.0, 0.0], tokens_in=tokens)
    data = prepare(log, encoder=ENCODER)
    split = data.split(np.arange(5, 15), np.array([0, 10, 19]), name="x", seed=0)
    costs = TokenCosts()
    costs.fit(split.training())
    assert costs.predict(split.queries()) == pytest.approx(np.array([[11, 12], [16, 22], [20, 30]]))


def test_the_oracle_refuses_queries_that_it_did_not_see(data: Dataset) -> None:
    split = next(random_splits(data, splits=1, seed=0))
    oracle = Oracle()
    oracle.look(split.test)
    oracle.fit(split.training(), np.random.default_rng(0))
    with pytest.raises(InvalidValueError, match="look"):
        oracle.predict(split.queries())


def test_one_llm_alone_can_be_learned() -> None:
    log = make_log(np.tile([[0.0], [1.0]], (30, 1)), np.ones((60, 1)))
    split = next(random_splits(prepare(log, encoder=ENCODER), splits=1, seed=0))
    assert run_trial(Perceptron(), split).metrics.max_quality == 1.0
