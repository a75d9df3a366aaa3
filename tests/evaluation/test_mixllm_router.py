"""MixLLM itself as a contender."""

from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.test_leakage import reachable
from tests.evaluation.worlds import domain_data
from tests.learning.offline.planted_log import planted_log, word_encoder

from mixllm.evaluation.contender import Contender, Predictions, SeesOutcomes, Split, TestData
from mixllm.evaluation.mixllm_router import MixLLMRouter
from mixllm.evaluation.splits import prepare, random_splits
from mixllm.evaluation.trial import run_trial
from mixllm.learning.offline import TrainingRecipe
from mixllm.logs import RoutingLog

RECIPE = TrainingRecipe(name="quick", projection_dimension=8)
LOG = planted_log(200)


@pytest.fixture(scope="module")
def split() -> Split:
    return next(random_splits(prepare(LOG, encoder=word_encoder(), label="topic"), splits=1, seed=0))


@pytest.fixture(scope="module")
def fitted(split: Split) -> MixLLMRouter:
    router = MixLLMRouter(recipe=RECIPE)
    router.fit(split.training(), np.random.default_rng(0))
    return router


def test_it_is_a_contender() -> None:
    router = MixLLMRouter(name="ours", recipe=RECIPE)
    assert isinstance(router, Contender)
    assert not isinstance(router, SeesOutcomes)
    assert (router.name, router.folds, router.recipe) == ("ours", 1, RECIPE)
    assert MixLLMRouter().name == "mixllm"


def test_it_predicts_what_the_topic_says(fitted: MixLLMRouter, split: Split) -> None:
    found = fitted.predict(split.queries())
    assert found.quality.shape == found.cost_usd.shape == (len(split.test), 3)
    topics = split.test.labels["topic"]
    right = [
        quality[:2].argmax() == ("sums", "verse").index(topic)
        for quality, topic in zip(found.quality, topics, strict=True)
        if topic != "law"
    ]
    assert np.mean(right) > 0.9
    assert found.cost_usd.mean(axis=0) == pytest.approx(split.test.cost_usd.mean(axis=0), rel=0.3)


def test_a_query_is_predicted_by_itself(fitted: MixLLMRouter, split: Split) -> None:
    """Neither the rows beside it, nor texts seen before, nor the test part's outcomes reach a prediction."""
    queries = split.queries()
    first = fitted.predict(queries)
    turned = fitted.predict(
        TestData(encodings=queries.encodings[::-1].copy(), texts=queries.texts[::-1], tokens_in=queries.tokens_in[::-1])
    )
    np.testing.assert_allclose(turned.quality[::-1], first.quality, atol=1e-5)
    np.testing.assert_allclose(turned.cost_usd[::-1], first.cost_usd, rtol=1e-4)
    one = fitted.predict(queries.select(np.array([3])))
    np.testing.assert_allclose(one.quality[0], first.quality[3], atol=1e-5)


def test_no_test_outcome_can_be_reached(fitted: MixLLMRouter, split: Split) -> None:
    fitted.predict(split.queries())
    test_ids = set(split.test.query_ids)
    for item in reachable(fitted):
        assert not isinstance(item, Split)
        assert item is not split.test
        if isinstance(item, RoutingLog):
            assert not test_ids & set(item.query_ids)


def test_every_fit_starts_from_nothing(fitted: MixLLMRouter, split: Split) -> None:
    router = MixLLMRouter(recipe=RECIPE)
    for rows in (np.arange(40), np.arange(len(split.train))):
        router.fit(split.training().select(rows), np.random.default_rng(0))
    again: Predictions = router.predict(split.queries())
    np.testing.assert_array_equal(again.quality, fitted.predict(split.queries()).quality)


def test_tokens_are_those_of_the_encoder(split: Split) -> None:
    """A contender that has seen the texts under another encoder is none the worse."""
    used = MixLLMRouter(recipe=RECIPE)
    other = next(random_splits(domain_data(60), splits=1, seed=0))
    small = next(random_splits(prepare(LOG, encoder=word_encoder(seed=4), label="topic"), splits=1, seed=0))
    results = []
    for before in ((), (other, small)):
        router = used if before else MixLLMRouter(recipe=RECIPE)
        for past in before:
            router.fit(past.training(), np.random.default_rng(0))
            router.predict(past.queries())
        router.fit(split.training(), np.random.default_rng(0))
        results.append(router.predict(split.queries()).quality)
    np.testing.assert_array_equal(results[0], results[1])


def test_without_a_label_clusters_serve(split: Split) -> None:
    unlabelled = next(random_splits(prepare(planted_log(120, labels={}), encoder=word_encoder()), splits=1, seed=0))
    router = MixLLMRouter(recipe=RECIPE)
    router.fit(unlabelled.training(), np.random.default_rng(0))
    assert np.isfinite(router.predict(unlabelled.queries()).quality).all()


def test_it_plays_a_trial_and_needs_to_be_fitted(split: Split) -> None:
    with pytest.raises(RuntimeError, match="before fit"):
        MixLLMRouter().predict(split.queries())
    assert run_trial(MixLLMRouter(recipe=RECIPE), split) is not None
