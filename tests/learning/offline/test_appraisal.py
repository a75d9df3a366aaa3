"""A trained model against held-out queries."""

from __future__ import annotations

import numpy as np
import pytest
from tests.learning.offline.planted_log import LLMS, partial, planted_log, topic_labels, training_set, word_encoder

from mixllm.learning.offline import TrainedModel, appraise, train
from mixllm.learning.offline.appraisal import cost_interval
from mixllm.tags.labelling import TagLabels

ENCODER = word_encoder()
HELD_OUT = planted_log(400, seed=1)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return train(training_set(planted_log(400), ENCODER), base=ENCODER, rng=np.random.default_rng(0))


def test_a_held_out_part_is_appraised(model: TrainedModel) -> None:
    found = appraise(model, training_set(HELD_OUT, ENCODER))
    assert found.queries == 400
    assert found.tag_accuracy is not None
    assert found.tag_log_loss is not None
    assert found.tag_accuracy > 0.95
    assert found.tag_log_loss < 0.3
    assert tuple(found.llms) == LLMS
    for one in found.llms.values():
        assert abs(one.quality_bias) < 0.06
        assert one.calibration_error < 0.1
        assert one.cost_ratio == pytest.approx(1.0, abs=0.1)
        assert one.cost_coverage is not None
        assert 0.8 < one.cost_coverage < 0.99
        assert one.quality_coverage is not None


def test_few_held_out_queries_with_gaps(model: TrainedModel) -> None:
    """Fewer than one bin of judgements: no coverage, but no failure either."""
    log = planted_log(6, seed=2)
    arrays = partial(log, share=0.3)
    for array in arrays.values():
        array[:, 1] = np.nan
    every = topic_labels(log)
    unlabelled = TagLabels(vocabulary=every.vocabulary, query_ids=every.query_ids, weights=every.weights * 0)
    price = model.learner.snapshot().specs[0].price
    data = training_set(planted_log(6, **arrays), ENCODER, labels=unlabelled, prices=[price] * 3, reference="large")
    found = appraise(model, data)
    assert (found.tag_accuracy, found.tag_log_loss) == (None, None)
    assert found.llms["large"].quality_coverage is None
    assert found.llms["large"].cost_coverage is not None
    nothing = found.llms["verse-llm"]
    assert (nothing.cost_ratio, nothing.cost_coverage, nothing.quality_coverage) == (None, None, None)


def test_cost_intervals_hold_nine_of_ten_lognormal_costs() -> None:
    """Mean and std are those of the costs, not of their logarithms."""
    costs = np.exp(np.random.default_rng(0).normal(-3.0, 0.7, 20_000))
    low, high = cost_interval(np.array([costs.mean()]), np.array([costs.std()]))
    assert ((costs >= low) & (costs <= high)).mean() == pytest.approx(0.9, abs=0.01)
    assert (costs < low).mean() == pytest.approx(0.05, abs=0.01)


def test_a_cost_that_is_sure_has_no_width() -> None:
    low, high = cost_interval(np.array([2.0, 0.0]), np.array([0.0, 0.0]))
    assert low == pytest.approx(high)
    assert low[0] == pytest.approx(2.0)
