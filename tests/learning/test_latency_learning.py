"""Times in the learner: what teaches them, whose they are, and what becomes of states from before."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from tests.learning.world import DIMENSION, SPECS, PlainFeatures, World, events, outcome_event, spec

from mixllm.learning import Checkpoint, Learner
from mixllm.learning.merging import merged
from mixllm.types import LearningEvent, LLMSpec, Outcome, OutcomeStatus

FEATURES = PlainFeatures()


def learner(*specs: LLMSpec, count: int = 0) -> Learner:
    made = Learner(features=FEATURES, encoding_dimension=DIMENSION, specs=specs or SPECS)
    if count:
        made.learn(events(World(1), count))
    return made


def at(one: LLMSpec, api_base: str, model: str | None = None) -> LLMSpec:
    return msgspec.structs.replace(one, api_base=api_base, model=model)


def answers(
    world: World, count: int, *, factor: float = 1.0, first: int = 1, in_flight: int = 0
) -> list[LearningEvent]:
    made = []
    for seq in range(first, first + count):
        x = world.encoding()
        usual = world.outcome("small", x)
        slow = msgspec.structs.replace(
            usual, latency_s=factor * (usual.latency_s or 0.0), ttft_s=factor * (usual.ttft_s or 0.0), streamed=True
        )
        event = outcome_event(seq, "small", x, slow)
        made.append(msgspec.structs.replace(event, created_at_s=float(seq), in_flight=in_flight))
    return made


def latency_s(made: Learner, *, now_s: float | None = None, llm: int = 0) -> float:
    z = FEATURES.features(World(2).encoding())
    return made.snapshot().forecasts(z, tokens_in=300, streamed=True, now_s=now_s)[llm].latency_s.mean


def test_ten_times_slower_is_forecast_after_ten_answers_and_let_go_without_any() -> None:
    made = learner()
    world = World(3)
    made.learn(answers(world, 200))
    usual_s = latency_s(made, now_s=200.0)
    made.learn(answers(world, 10, factor=10.0, first=201))
    assert latency_s(made, now_s=210.0) > 6.0 * usual_s
    assert latency_s(made, now_s=270.0) < 1.7 * usual_s


@pytest.mark.parametrize(
    "change",
    [
        *({"status": status} for status in OutcomeStatus if status is not OutcomeStatus.OK),
        {"latency_s": None},
        {"tokens_out": None},
        {"cached_tokens_in": 200, "latency_s": 0.001, "ttft_s": 0.001},
    ],
)
def test_errors_cancelled_calls_and_cache_hits_teach_no_times(change: dict[str, object]) -> None:
    made = learner()
    made.learn(answers(World(3), 100))
    before = made.checkpoint().arrays_of("0.latency.")
    outcome = msgspec.structs.replace(Outcome(llm="small", tokens_out=50, latency_s=500.0, ttft_s=400.0), **change)
    made.learn([outcome_event(101 + seq, "small", World(4).encoding(), outcome) for seq in range(20)])
    after = made.checkpoint().arrays_of("0.latency.")
    assert all(np.array_equal(before[name], array) for name, array in after.items())


def test_at_a_new_endpoint_times_begin_afresh_and_nothing_else_does() -> None:
    small = at(SPECS[0], "http://here/v1")
    made = learner(small, *SPECS[1:], count=400)
    before = made.snapshot()
    made.put_llm(msgspec.structs.replace(small, max_in_flight=3))  # The same endpoint.
    assert made.snapshot().latency[0].plain == before.latency[0].plain
    for moved in (at(small, "http://there/v1"), at(small, "http://there/v1", "small-2")):
        made.learn(events(World(5), 100, first=made.position + 1))
        made.put_llm(moved)
        after = made.snapshot()
        assert after.latency[0] == learner().snapshot().latency[0]
        assert after.latency[1].level.weight > 0
        assert after.judgements[0] >= before.judgements[0] > 0
        assert after.answers[0] >= before.answers[0] > 0


def test_a_checkpoint_of_another_endpoint_brings_no_times() -> None:
    here = learner(at(SPECS[0], "http://here/v1"), *SPECS[1:], count=300)
    there = learner(at(SPECS[0], "http://there/v1"), *SPECS[1:])
    there.restore(here.checkpoint())
    assert there.snapshot().latency[0] == learner().snapshot().latency[0]
    assert there.snapshot().latency[1] == here.snapshot().latency[1]
    assert there.snapshot().judgements == here.snapshot().judgements
    again = learner(at(SPECS[0], "http://here/v1"), *SPECS[1:])
    again.restore(here.checkpoint())
    assert again.snapshot().latency == here.snapshot().latency


def test_learners_at_different_endpoints_merge_all_but_their_times() -> None:
    here = learner(at(SPECS[0], "http://here/v1"), *SPECS[1:], count=300)
    there = learner(at(SPECS[0], "http://there/v1"), *SPECS[1:], count=200)
    both = learner(at(SPECS[0], "http://here/v1"), *SPECS[1:])
    both.restore(merged(here.checkpoint(), there.checkpoint()))
    mine, theirs = here.snapshot(), there.snapshot()
    assert both.snapshot().latency[0] == mine.latency[0]
    assert both.snapshot().latency[1] != mine.latency[1]
    assert both.snapshot().judgements[0] == pytest.approx(mine.judgements[0] + theirs.judgements[0])


def as_before(checkpoint: Checkpoint) -> Checkpoint:
    """Return `checkpoint` as it was kept when latency was two sums: without pace, endpoint, and the rest."""
    new = (".latency.", ".pace.", ".endpoint")
    arrays = {name: array for name, array in checkpoint.arrays.items() if not any(part in name for part in new)}
    for row in range(len(checkpoint.llms)):
        arrays[f"{row}.latency.gram"] = np.array([[3.0, 9.0], [9.0, 30.0]])
        arrays[f"{row}.latency.moment"] = np.ones(2)
        arrays[f"{row}.latency.sums"] = np.ones(2)
    return replace(checkpoint, arrays=arrays)


def test_former_checkpoints_load_and_merge_without_their_times() -> None:
    source = learner(count=300)
    former = Checkpoint.from_bytes(as_before(source.checkpoint()).to_bytes())
    made = learner()
    made.restore(former)
    assert made.snapshot().judgements == source.snapshot().judgements
    assert made.snapshot().latency == learner().snapshot().latency
    other = learner()
    other.learn(events(World(7), 200))
    expected = other.snapshot().latency
    other.merge(former)
    assert other.snapshot().latency == expected


def test_a_queue_that_is_declared_or_learned_makes_calls_wait() -> None:
    limited = learner(spec("small", 0.1, max_in_flight=2), *SPECS[1:])
    assert limited.snapshot().queues
    free = learner()
    assert not free.snapshot().queues
    world = World(8)
    free.learn(answers(world, 60))
    for n in range(60):  # four servers: the more are under way, the longer it takes
        under_way = n % 16
        waiting = 1.0 + max(0, under_way - 3) / 4
        free.learn(answers(world, 1, factor=waiting, first=61 + n, in_flight=under_way))
    assert free.snapshot().queues
    z = FEATURES.features(world.encoding())
    waits = [free.snapshot().forecasts(z, tokens_in=300, in_flight=[n, 0, 0])[0].wait_s for n in (0, 2, 12, 24)]
    usual_s = latency_s(free)
    assert waits[0] == waits[1] == 0.0
    assert waits[2] == pytest.approx(9 / 4 * usual_s, rel=0.5)
    assert waits[3] > 1.8 * waits[2]


def test_the_calls_that_a_decision_counted_are_not_those_of_a_fallback() -> None:
    """They were under way at the LLM that was chosen, and tell nothing of the queue at the one that answered."""

    def expected(in_flight: int) -> list[float]:
        made = learner(spec("small", 0.1, max_in_flight=2), *SPECS[1:])
        for event in answers(World(9), 40, in_flight=in_flight):
            assert event.outcome is not None
            again = msgspec.structs.replace(event.outcome, attempt=1)
            made.learn([msgspec.structs.replace(event, outcome=again)])
        z = FEATURES.features(World(2).encoding())
        forecasts = made.snapshot().forecasts(z, tokens_in=300, streamed=True, now_s=40.0)
        return [forecasts[0].latency_s.mean, forecasts[0].latency_high_s]

    assert expected(30) == expected(0)


def test_the_calls_that_were_counted_where_a_call_went_are_what_explains_its_time() -> None:
    """A breaker opened between decision and call: what the decision counted was under way elsewhere."""

    def expected(at_the_chosen: int, at_the_called: int | None, attempt: int = 0) -> list[float]:
        made = learner(spec("small", 0.1, max_in_flight=2), *SPECS[1:])
        for event in answers(World(9), 40, in_flight=at_the_chosen):
            assert event.outcome is not None
            moved = msgspec.structs.replace(event.outcome, in_flight=at_the_called, attempt=attempt)
            made.learn([msgspec.structs.replace(event, outcome=moved)])
        z = FEATURES.features(World(2).encoding())
        forecasts = made.snapshot().forecasts(z, tokens_in=300, streamed=True, now_s=40.0)
        return [forecasts[0].latency_s.mean, forecasts[0].latency_high_s]

    assert expected(30, 0) == expected(0, None) == expected(0, 0)
    assert expected(0, 30) == expected(30, None) != expected(0, None)
    assert expected(5, 30, attempt=1) == expected(30, None)
