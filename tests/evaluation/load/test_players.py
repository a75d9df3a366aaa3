"""Players under load: contenders by their predictions, and the real router, trained and on a clock that is set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation.load.planted import make_world

from mixllm.assembly import build_encoder
from mixllm.config import EncoderConfig
from mixllm.evaluation.contender import Predictions, Split
from mixllm.evaluation.load.arrivals import arrival_times
from mixllm.evaluation.load.endpoint import EndpointSpec, Outage
from mixllm.evaluation.load.engine import Fate, Journey, run_stream
from mixllm.evaluation.load.players import Chooser, MixLLMPlayer, TrainedRouter, train_router
from mixllm.evaluation.load.service import Speed
from mixllm.evaluation.load.world import World, endpoints_for, mean_service_s, pool_capacity_per_s
from mixllm.evaluation.load.world import make_world as world_of
from mixllm.evaluation.splits import prepare, random_splits
from mixllm.playback import synthetic_log
from mixllm.types import OutcomeStatus

SPEED = Speed(ttft_s=0.5, prefill_s=0.0, tpot_s=0.01, scatter=0.2)


@pytest.fixture(scope="module")
def split() -> Split:
    dataset = prepare(synthetic_log(queries=150, seed=5), encoder=build_encoder(EncoderConfig()))
    return next(random_splits(dataset, splits=1, seed=1))


@pytest.fixture(scope="module")
def speeds(split: Split) -> tuple[Speed, ...]:
    return (SPEED,) * len(split.test.llms)


@pytest.fixture(scope="module")
def trained(split: Split, speeds: tuple[Speed, ...]) -> TrainedRouter:
    return train_router(split, speeds=speeds, rng=np.random.default_rng(1))


def stream(split: Split, speeds: tuple[Speed, ...], *, load: float, duration_s: float = 90.0) -> World:
    """Return a stream at a load of a pool with one server for each LLM."""
    rate = load * pool_capacity_per_s(mean_service_s(split, speeds), np.ones(len(speeds), np.intp))
    rng = np.random.default_rng(4)
    return world_of(
        split,
        speeds=speeds,
        arrivals_s=arrival_times("poisson", rate_per_s=rate, duration_s=duration_s, rng=rng),
        rng=rng,
    )


def ours(trained: TrainedRouter, world: World, **changed: object) -> MixLLMPlayer:
    """Return MixLLM with one server for each LLM."""
    settings = {"trade_off": 3.0, "deadline_s": 30.0, "servers": 1, **changed}
    return MixLLMPlayer(trained, world=world, **settings)  # type: ignore[arg-type]


def run(world: World, player: MixLLMPlayer, *, outages: tuple[Outage, ...] = ()) -> Journey:
    """Run a stream through one server for each LLM."""
    endpoints = [EndpointSpec(servers=1, max_queue=20)] * len(world.llms)
    return run_stream(world, player, endpoints=endpoints, deadline_s=30.0, outages=outages)


def test_a_contender_takes_the_best_and_then_the_next_best() -> None:
    world = make_world(np.ones((2, 3)), np.array([0.0, 1.0]))
    predictions = Predictions(quality=np.array([[0.9, 0.8, 0.1], [0.1, 0.2, 0.9]]), cost_usd=np.full((2, 3), 0.1))
    player = Chooser(predictions, world=world, trade_off=2.0, cost_unit=1.0, attempts=3)
    assert [player.choose(number, now_s=0.0, refused=()) for number in (0, 1)] == [0, 2]
    assert player.choose(0, now_s=0.0, refused=(0,)) == 1
    assert player.choose(0, now_s=0.0, refused=(0, 1)) == 2
    assert player.choose(0, now_s=0.0, refused=(0, 1, 2)) is None


def test_the_router_spreads_what_one_llm_cannot_take(
    split: Split, speeds: tuple[Speed, ...], trained: TrainedRouter
) -> None:
    world = stream(split, speeds, load=0.6)
    timed = run(world, ours(trained, world, trade_off=100.0))
    timeless = run(world, ours(trained, world, trade_off=100.0, deadline_s=None))
    assert (timed.fate == Fate.ANSWERED).mean() > 0.9
    assert (timed.fate == Fate.ANSWERED).mean() > (timeless.fate == Fate.ANSWERED).mean() + 0.1
    assert timed.wait_s.max() < 30.0


def test_the_router_records_every_call_and_learns_from_it(
    split: Split, speeds: tuple[Speed, ...], trained: TrainedRouter
) -> None:
    world = stream(split, speeds, load=0.4, duration_s=60.0)
    player = ours(trained, world, feedback="refined")
    before = sum(one.forecast.judgements for one in player.router.route("x", expect_outcome=False).candidates)
    dark = world.llms[0]
    journey = run(world, player, outages=(Outage(llm=dark, from_s=0.0, until_s=100.0),))
    router = player.router
    router.learn()
    assert router.in_flight.counts() == {}
    assert not (journey.llm == 0).any()
    answered = int(np.isin(journey.fate, (Fate.ANSWERED, Fate.LATE)).sum())
    assert answered > 20
    events = router.store.events_after(0, limit=10_000)
    told = [event.outcome for event in events if event.outcome is not None]
    assert sum(outcome.status is OutcomeStatus.OK for outcome in told) == answered
    assert sum(event.feedback is not None for event in events) == answered
    after = sum(one.forecast.judgements for one in router.route("x", expect_outcome=False).candidates)
    assert after == pytest.approx(before + answered, rel=0.05)
    player.close()


def test_beyond_all_capacity_the_router_turns_away_and_misses_little(
    split: Split, speeds: tuple[Speed, ...], trained: TrainedRouter
) -> None:
    world = stream(split, speeds, load=3.0, duration_s=40.0)
    journey = run(world, ours(trained, world))
    shed = np.isin(journey.fate, (Fate.SHED, Fate.REFUSED)).mean()
    assert 0.2 < shed < 0.75
    assert np.isin(journey.fate, (Fate.LATE, Fate.GAVE_UP)).mean() < 0.1


def test_without_a_deadline_time_is_left_out_of_account(
    split: Split, speeds: tuple[Speed, ...], trained: TrainedRouter
) -> None:
    world = stream(split, speeds, load=2.0, duration_s=5.0)
    free = [EndpointSpec(servers=None)] * len(speeds)
    hurried = run_stream(world, ours(trained, world, deadline_s=None), endpoints=free, deadline_s=np.inf)
    calm = replace(world, arrivals_s=np.linspace(0.0, 1e5, len(world)))
    unhurried = run_stream(calm, ours(trained, calm, deadline_s=None), endpoints=free, deadline_s=np.inf)
    assert (hurried.llm == unhurried.llm).mean() > 0.95
    assert (hurried.fate == Fate.ANSWERED).all()


def test_queues_hold_what_a_deadline_serves() -> None:
    found = endpoints_for(np.array([2.0, 0.7]), spec=EndpointSpec(servers=3), deadline_s=10.0)
    assert [spec.max_queue for spec in found] == [15, 43]
    own = EndpointSpec(servers=3, max_queue=1)
    assert endpoints_for(np.array([2.0]), spec=own, deadline_s=10.0) == (own,)
