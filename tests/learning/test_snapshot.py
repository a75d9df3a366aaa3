"""Snapshots: forecasts put together from their parts, and never changed."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import msgspec
import numpy as np
import pytest
from tests.learning.world import DIMENSION, SPECS, PlainFeatures, World, events, spec

from mixllm.learning import Learner, Snapshot
from mixllm.predictors import LatencyBank, expected_wait_s, length_features, tokens_from_log
from mixllm.types import Outcome, Price, WarmPrefix

FEATURES = PlainFeatures()


def learner(count: int = 400) -> Learner:
    made = Learner(features=FEATURES, encoding_dimension=DIMENSION, specs=SPECS)
    made.learn(events(World(1), count))
    return made


def test_a_forecast_is_put_together_from_its_parts() -> None:
    snapshot = learner().snapshot()
    z = FEATURES.features(World(2).encoding())
    made = snapshot.forecasts(z, tokens_in=700)
    quality, std = snapshot.quality.predict(z)
    extended = length_features(z, 700)
    log_mean, log_std = snapshot.length.predict(extended)
    tokens, tokens_std = tokens_from_log(log_mean, log_std, snapshot.length.residual_variances)
    factors = snapshot.billing.predict(extended)
    assert snapshot.pace is not None
    times = LatencyBank(snapshot.latency).forecast(
        tokens_in=700,
        tokens_out=np.asarray(tokens, np.float64),
        length_log_variance=np.asarray(snapshot.length.residual_variances + log_std**2, np.float64),
        pace=snapshot.pace.predict(z),
    )
    for row, forecast in enumerate(made):
        usd = [0.1e-6, 1e-6, 10e-6][row]
        assert forecast.quality.mean == pytest.approx(np.clip(quality[row], 0, 1))
        assert forecast.quality.std == pytest.approx(std[row])
        assert (forecast.tokens_out.mean, forecast.tokens_out.std) == pytest.approx((tokens[row], tokens_std[row]))
        assert forecast.cost_usd.mean == pytest.approx(factors[row] * usd * (700 + tokens[row]))
        scatter = math.expm1(snapshot.billing.residual_variances[row])
        of_length, of_bills = factors[row] * usd * tokens_std[row], forecast.cost_usd.mean * math.sqrt(scatter)
        assert forecast.cost_usd.std == pytest.approx(math.hypot(of_length, of_bills))
        assert (forecast.latency_s.mean, forecast.latency_s.std) == pytest.approx(
            (times.latency_s[row], times.latency_s_std[row])
        )
        assert forecast.ttft_s.mean == pytest.approx(times.ttft_s[row])
        assert forecast.ttft_tail_s > forecast.ttft_s.mean
        assert 0 < forecast.latency_low_s < forecast.latency_s.mean < forecast.latency_high_s
        assert forecast.wait_s == 0.0
        assert forecast.judgements == snapshot.judgements[row] > 0


def test_a_limit_bounds_the_answer() -> None:
    snapshot = learner().snapshot()
    z = FEATURES.features(World(2).encoding())
    free = snapshot.forecasts(z, tokens_in=10)
    bound = snapshot.forecasts(z, tokens_in=10, max_tokens_out=5)
    for one, other in zip(free, bound, strict=True):
        assert other.tokens_out.mean == 5.0 < one.tokens_out.mean
        assert other.tokens_out.std <= 5.0
        assert other.cost_usd.mean < one.cost_usd.mean
        assert other.latency_s.mean < one.latency_s.mean
    loose = snapshot.forecasts(z, tokens_in=10, max_tokens_out=10**6)
    assert loose == free


def test_calls_under_way_make_wait() -> None:
    made = Learner(
        features=FEATURES,
        encoding_dimension=DIMENSION,
        specs=[spec("busy", max_in_flight=2), spec("unknown"), spec("idle", max_in_flight=2)],
    )
    snapshot = made.snapshot()
    z = FEATURES.features(World(2).encoding())
    alone = snapshot.forecasts(z, tokens_in=10)
    jam = snapshot.forecasts(z, tokens_in=10, in_flight=[5, 50, 1])
    service_s = alone[0].latency_s.mean
    wait_s = expected_wait_s(in_flight=5, max_in_flight=2, service_s=service_s)
    assert wait_s == pytest.approx(2 * service_s)
    assert jam[0].wait_s == pytest.approx(wait_s)
    assert jam[0].latency_s.mean == pytest.approx(wait_s + service_s)
    assert jam[0].ttft_s.mean == pytest.approx(wait_s + alone[0].ttft_s.mean)
    assert jam[1:] == alone[1:]


def test_calls_can_wait_only_where_a_limit_is_known() -> None:
    free = Learner(features=FEATURES, encoding_dimension=DIMENSION, specs=[spec("a"), spec("b")])
    limited = Learner(features=FEATURES, encoding_dimension=DIMENSION, specs=[spec("a"), spec("b", max_in_flight=1)])
    assert not free.snapshot().queues
    assert limited.snapshot().queues
    z = FEATURES.features(World(3).encoding())
    assert [one.wait_s for one in free.snapshot().forecasts(z, tokens_in=10, in_flight=[9, 9])] == [0.0, 0.0]


def test_qualities_stay_in_range() -> None:
    made = Learner(features=FEATURES, encoding_dimension=DIMENSION, specs=SPECS)
    snapshot = made.snapshot()
    for scale in (-1e3, 1e3):
        for forecast in snapshot.forecasts(scale * np.ones(DIMENSION + 1, np.float32), tokens_in=1):
            assert 0.0 <= forecast.quality.mean <= 1.0
            assert 1.0 <= forecast.tokens_out.mean <= 1e6 + 1


def test_later_learning_does_not_reach_it() -> None:
    made = learner()
    snapshot = made.snapshot()
    z = FEATURES.features(World(2).encoding())
    before = snapshot.forecasts(z, tokens_in=10)
    made.learn(events(World(3), 400, first=401))
    made.drop_llm("small")
    assert snapshot.forecasts(z, tokens_in=10) == before
    assert snapshot.specs == SPECS
    assert made.snapshot().forecasts(z, tokens_in=10) != before[1:]
    with pytest.raises(FrozenInstanceError):
        snapshot.version = 7  # type: ignore[misc]


def test_a_pool_of_none_forecasts_nothing() -> None:
    snapshot: Snapshot = Learner(features=FEATURES, encoding_dimension=DIMENSION).snapshot()
    assert snapshot.forecasts(np.ones(DIMENSION + 1, np.float32), tokens_in=1) == []
    assert snapshot.forecasts(np.ones(DIMENSION + 1, np.float32), tokens_in=1, in_flight=[]) == []


def test_bills_above_the_list_are_forecast() -> None:
    made = Learner(features=FEATURES, encoding_dimension=DIMENSION, specs=SPECS)
    world = World(4)
    batch = events(world, 800)
    billed = []
    for event in batch:
        if event.outcome is not None and event.llm == "large":
            listed = 10e-6 * (300 + (event.outcome.tokens_out or 0))
            outcome = Outcome(
                **{**{f: getattr(event.outcome, f) for f in event.outcome.__struct_fields__}, "cost_usd": 1.5 * listed}
            )
            billed.append(
                type(event)(**{**{f: getattr(event, f) for f in event.__struct_fields__}, "outcome": outcome})
            )
        else:
            billed.append(event)
    made.learn(billed)
    z = FEATURES.features(world.encoding())
    large = made.snapshot().forecasts(z, tokens_in=300)[2]
    assert large.cost_usd.mean == pytest.approx(1.5 * 10e-6 * (300 + large.tokens_out.mean), rel=0.08)


def test_what_is_cached_is_charged_less() -> None:
    price = Price(usd_per_million_tokens_in=3, usd_per_million_tokens_out=9, usd_per_million_tokens_cached_in=0.5)
    specs = [msgspec.structs.replace(spec("caching"), price=price), spec("plain")]
    snapshot = Learner(features=FEATURES, encoding_dimension=DIMENSION, specs=specs).snapshot()
    z = FEATURES.features(World(2).encoding())
    cold = snapshot.forecasts(z, tokens_in=4000).cost_usd
    saved = [
        (cold - snapshot.forecasts(z, tokens_in=4000, warm=WarmPrefix(llm=llm, tokens=tokens)).cost_usd).tolist()
        for llm, tokens in (("caching", 3000), ("caching", 9000), ("plain", 3000), ("gone", 3000))
    ]

    # Nothing was billed yet: the factor between bill and list is 1, but for its spread.
    assert saved[0] == pytest.approx([3000 * 2.5e-6, 0], rel=0.02)
    assert saved[1] == pytest.approx([4000 * 2.5e-6, 0], rel=0.02)
    assert saved[2] == saved[3] == [0, 0]


def test_every_answer_is_paid_for() -> None:
    snapshot = learner().snapshot()
    z = FEATURES.features(World(2).encoding())
    one, three = snapshot.forecasts(z, tokens_in=700), snapshot.forecasts(z, tokens_in=700, choices=3)
    usd = np.array([0.1e-6, 1e-6, 10e-6])
    factors = snapshot.billing.predict(length_features(z, 700))

    assert three.cost_usd - one.cost_usd == pytest.approx(factors * usd * 2 * one.tokens_out)
    assert three.tokens_out.tolist() == one.tokens_out.tolist()
    assert three.latency_s.tolist() == one.latency_s.tolist()


def test_several_answers_in_a_call_are_as_long_as_one() -> None:
    made = [Learner(features=FEATURES, encoding_dimension=DIMENSION, specs=SPECS) for _ in range(2)]
    for one in events(World(1), 200):
        made[0].learn([one])
        outcome = one.outcome
        if outcome is not None and outcome.tokens_out is not None:
            outcome = msgspec.structs.replace(outcome, tokens_out=3 * outcome.tokens_out, choices=3)
        made[1].learn([msgspec.structs.replace(one, outcome=outcome)])
    z = FEATURES.features(World(2).encoding())
    single, several = (one.snapshot().forecasts(z, tokens_in=700) for one in made)

    assert several.tokens_out == pytest.approx(single.tokens_out)
    assert several.latency_s == pytest.approx(single.latency_s)
