from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from tests.evaluation.simulation.planted import LLMS, TOPICS, encoder, features, make_stream, topic_data

from mixllm.errors import ConfigError, InvalidValueError, LogError, UnknownLLMError
from mixllm.evaluation.simulation.schedule import Change, Schedule
from mixllm.evaluation.simulation.stream import StreamSettings, arrival_order
from mixllm.evaluation.splits import prepare
from mixllm.logs import RoutingLog
from mixllm.types import FeedbackKind


def test_the_same_seed_gives_the_same_random_order_and_another_another() -> None:
    orders = [arrival_order(topic_data(), StreamSettings(queries=100), seed=seed) for seed in (0, 0, 1)]
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()
    assert len(set(orders[0].tolist())) == 100


def test_order_of_the_log_and_by_label() -> None:
    data = topic_data()
    assert arrival_order(data, StreamSettings(queries=5, order="log"), seed=1).tolist() == [0, 1, 2, 3, 4]
    seen = set()
    for seed in range(8):
        rows = arrival_order(data, StreamSettings(order="by-label"), seed=seed)
        assert sorted(rows.tolist()) == list(range(len(data.log)))
        topics = [data.log.labels["domain"][row] for row in rows]
        assert sum(one != other for one, other in pairwise(topics)) == 1
        seen.add(topics[0])
    assert seen == set(TOPICS)


def test_by_label_needs_a_label() -> None:
    bare = prepare(replace(topic_data().log, labels={}), encoder=encoder())
    with pytest.raises(LogError, match="--label"):
        arrival_order(bare, StreamSettings(order="by-label"), seed=0)


def test_a_query_shows_its_text_features_and_pool_and_nothing_else() -> None:
    stream, data = make_stream(), topic_data()
    arrival = stream.arrival(7)
    row = int(stream.rows[7])
    assert arrival.text == data.texts[row]
    assert arrival.features == pytest.approx(features().features(data.encodings[row]))
    assert arrival.eligible == LLMS
    assert set(type(arrival).__slots__) == {"number", "text", "features", "tokens_in", "pool"}
    with pytest.raises(ValueError, match="read-only"):
        arrival.features[0] = 1.0


def test_prices_are_those_that_explain_the_costs() -> None:
    price = make_stream().listed("dear").price
    assert price is not None
    assert (price.usd_per_million_tokens_in, price.usd_per_million_tokens_out) == pytest.approx((1.0, 2.0))
    with pytest.raises(UnknownLLMError):
        make_stream().listed("none")


def test_reward_is_quality_against_cost_on_the_reference_scale() -> None:
    stream = make_stream(StreamSettings(trade_off=1.4))
    told = stream.feedback(0, 2)
    scale = float(topic_data().log.mean_cost_usd()[2])
    assert told.reward == pytest.approx(1.4 / 2.4 * 1.0 - told.cost_usd / scale / 2.4)
    assert told.reward == pytest.approx(stream.reward[0, 2])
    assert stream.best_reward() == pytest.approx(stream.reward.max(axis=1))


@pytest.mark.parametrize(("latency_s", "thumb"), [(np.nan, 1.0), (14.9, 1.0), (15.0, 0.0)])
def test_thumbs_need_quality_and_where_known_speed(latency_s: float, thumb: float) -> None:
    stream = make_stream(StreamSettings(feedback="binary"), data=topic_data(latency_s=latency_s))
    told = stream.feedback(0, 2)
    assert (told.kind, told.quality) == (FeedbackKind.BINARY, thumb)
    assert stream.quality[0, 2] == 1.0


def test_without_feedback_the_facts_remain() -> None:
    told = make_stream(StreamSettings(feedback="none")).feedback(0, 1)
    assert (told.quality, told.reward) == (None, None)
    assert told.cost_usd > 0
    assert told.tokens_out == 100


def test_the_schedule_changes_pool_prices_and_qualities_from_its_query_on() -> None:
    changes = (
        Change(at=10, change="remove", llm="dear"),
        Change(at=20, change="add", llm="dear"),
        Change(at=30, change="price", llm="dear", factor=0.1),
        Change(at=40, change="quality", llm="dear", factor=0.25),
        Change(at=200, change="quality", llm="dear", factor=1.0),
    )
    plain, stream = make_stream(), make_stream(StreamSettings(schedule=Schedule(changes=changes)))
    assert [("dear" in stream.arrival(number).eligible) for number in (9, 10, 19, 20)] == [True, False, False, True]
    before, after = (stream.arrival(number).pool[2].price for number in (29, 30))
    assert before is not None
    assert after is not None
    assert after.usd_per_million_tokens_out == pytest.approx(0.1 * before.usd_per_million_tokens_out)
    assert stream.cost_usd[:30] == pytest.approx(plain.cost_usd[:30])
    assert stream.cost_usd[30:, 2] == pytest.approx(0.1 * plain.cost_usd[30:, 2])
    assert 0.1 < stream.quality[40:200, 2].mean() < 0.4
    assert set(np.unique(stream.quality).tolist()) == {0.0, 1.0}
    assert (stream.quality[200:, 2] == 1).all()
    assert (stream.best_reward()[10:20] == stream.reward[10:20, :2].max(axis=1)).all()


def test_graded_qualities_drop_by_the_factor_itself() -> None:
    data = prepare(replace(topic_data().log, quality=topic_data().log.quality * 0.8), encoder=encoder())
    drop = Schedule(changes=(Change(at=3, change="quality", llm="dear", factor=0.5),))
    stream = make_stream(StreamSettings(schedule=drop), data=data)
    assert stream.quality[[2, 3], [2, 2]] == pytest.approx([0.8, 0.4])


def test_logs_without_tokens_get_estimates() -> None:
    unknown = np.full((240, 3), np.nan)
    data = prepare(replace(topic_data().log, tokens_in=unknown, tokens_out=unknown), encoder=encoder())
    stream = make_stream(data=data)
    assert stream.feedback(0, 0).tokens_in == stream.arrival(0).tokens_in
    assert stream.feedback(0, 0).tokens_out == 100


def test_what_makes_no_stream_is_refused() -> None:
    for bad in ({"queries": 2}, {"feedback_delay": -1}, {"trade_off": -0.1}):
        with pytest.raises(InvalidValueError, match=next(iter(bad))):
            StreamSettings(**bad)
    free = replace(topic_data(), reference="first-topic", log=_with_free(0))
    with pytest.raises(LogError, match="--reference"):
        make_stream(data=free)
    late = Schedule(changes=(Change(at=240, change="remove", llm="dear"),))
    with pytest.raises(ConfigError, match="only 240 queries"):
        make_stream(StreamSettings(schedule=late))


def _with_free(column: int) -> RoutingLog:
    cost_usd = topic_data().log.cost_usd.copy()
    cost_usd[:, column] = 0.0
    return replace(topic_data().log, cost_usd=cost_usd)
