"""Nothing about the outcomes of the test part can be reached from what `predict` is given."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.evaluation.worlds import domain_data

from mixllm.evaluation.contender import Predictions, Split, TestData, TrainingData
from mixllm.evaluation.registry import contenders
from mixllm.evaluation.splits import Dataset, random_splits
from mixllm.evaluation.trial import run_trial
from mixllm.logs import RoutingLog


@pytest.fixture(scope="module")
def data() -> Dataset:
    return domain_data(100)


class Snooper:
    """Keeps all that it is given."""

    name = "snooper"
    folds = 3

    def __init__(self) -> None:
        self.asked: list[TestData] = []
        self.taught: list[TrainingData] = []

    def fit(self, training: TrainingData, rng: np.random.Generator) -> None:
        del rng
        self.taught.append(training)

    def predict(self, test: TestData) -> Predictions:
        self.asked.append(test)
        return Predictions(quality=np.zeros((len(test), 3)), cost_usd=np.zeros((len(test), 3)))


def reachable(root: object) -> Iterator[object]:
    """Yield everything that references lead to, arrays' bases included, classes and modules aside."""
    seen: set[int] = set()
    pending: list[Any] = [root]
    while pending:
        item = pending.pop()
        if id(item) in seen or isinstance(item, type) or type(item).__name__ in ("module", "function"):
            continue
        seen.add(id(item))
        yield item
        if isinstance(item, np.ndarray) and item.base is not None:
            pending.append(item.base)
        pending += gc.get_referents(item)


def test_from_what_predict_is_given_no_outcome_can_be_reached(data: Dataset) -> None:
    split = next(random_splits(data, splits=1, seed=0))
    snooper = Snooper()
    run_trial(snooper, split)
    assert len(snooper.asked) == 4, "three folds and the test part"
    forbidden = {id(split.test), id(data.log), id(split)}
    for asked in snooper.asked:
        assert set(TestData.__slots__) == {"encodings", "texts", "tokens_in"}
        for item in reachable(asked):
            assert id(item) not in forbidden
            assert not isinstance(item, RoutingLog | Split)
            if isinstance(item, np.ndarray):
                assert item.shape in {(len(asked), 32), (len(asked),), (len(data.log), 32), (len(data.log),)}


def test_from_what_fit_is_given_no_test_outcome_can_be_reached(data: Dataset) -> None:
    split = next(random_splits(data, splits=1, seed=0))
    snooper = Snooper()
    run_trial(snooper, split)
    test_ids = set(split.test.query_ids)
    logs = [item for taught in snooper.taught for item in reachable(taught) if isinstance(item, RoutingLog)]
    assert logs
    for log in logs:
        assert not test_ids & set(log.query_ids)
    for item in reachable(snooper.taught[-1]):
        if isinstance(item, np.ndarray) and item.ndim == 2 and item.shape[1] == 3:
            assert len(item) <= len(split.train), "a view of the whole log's outcomes"


@pytest.mark.parametrize("name", ["knn", "tag-mean", "kmeans", "rf", "mlp", "mf", "irt", "carrot", "zero", "cheapest"])
def test_other_test_outcomes_leave_every_prediction_as_it_is(name: str, data: Dataset) -> None:
    split = next(random_splits(data, splits=1, seed=0))
    (contender,) = contenders([name], llms=data.log.llms)
    contender.fit(split.training(), np.random.default_rng(0))
    first = contender.predict(split.queries())
    assert not hasattr(contender, "look")
    turned = TestData(
        encodings=split.test_encodings[::-1].copy(),
        texts=split.test_texts[::-1],
        tokens_in=split.test_tokens_in[::-1].copy(),
    )
    again = contender.predict(turned)
    # One query's prediction depends on that query alone, not on what stands beside it.
    np.testing.assert_allclose(again.quality[::-1], first.quality, atol=1e-5)
    np.testing.assert_allclose(again.cost_usd[::-1], first.cost_usd, rtol=1e-4)


def test_only_the_oracle_has_the_door() -> None:
    assert [router.name for router in contenders(None, llms=("a", "b")) if hasattr(router, "look")] == ["oracle"]
