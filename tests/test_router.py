"""The router: route · record · feedback · add_llm · remove_llm, alone and from many threads."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.small_router import EXPLORING, SPECS, question, small_router, spec

from mixllm import Capability, LLMSpec, MemoryStore, Outcome, OutcomeStatus, Price, Query, Router, SQLiteStore
from mixllm.clock import ManualClock, SystemClock
from mixllm.config import PolicyConfig, RoutingConfig
from mixllm.decision import DecisionMaker, GreedyPolicy, ScoreWeights
from mixllm.encoders import HashingEncoder
from mixllm.errors import (
    ConflictingEventError,
    DuplicateLLMError,
    InvalidValueError,
    NoEligibleLLMError,
    StoreClosedError,
    StoreError,
    UnknownDecisionError,
    UnknownLLMError,
    UnknownPriceError,
)
from mixllm.learning import Learner
from mixllm.registry import priced
from mixllm.router import RouterCore
from mixllm.tags import PrototypeTagger, TagFeatures, TruncatedProjection
from mixllm.types import Decision, Forecast, LearnedState


@pytest.fixture(autouse=True)
def impatient_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixllm.learning.worker._IDLE_WAIT_S", 0.02)


@pytest.fixture
def router() -> Iterator[Router]:
    with small_router() as made:
        yield made


def called(router: Router, number: int = 0, **outcome: Any) -> Decision:
    """Route a question and record an ordinary call."""
    decision = router.route(question(number))
    router.record(decision.decision_id, Outcome(**{"tokens_in": 50, "tokens_out": 200, "latency_s": 2.0, **outcome}))
    return decision


def forecasts(router: Router, text: str = "solve the equation") -> dict[str, Forecast]:
    decision = router.route(text, expect_outcome=False)
    return {candidate.llm: candidate.forecast for candidate in decision.candidates}


def test_parameters_reach_their_attributes() -> None:
    encoder, clock, store = HashingEncoder(), ManualClock(), MemoryStore()
    tagger = PrototypeTagger.from_domains(encoder=encoder)
    features = TagFeatures(tagger=tagger, projection=TruncatedProjection(centre=tagger.centre, dimension=4))
    learner = Learner(features=features, encoding_dimension=encoder.dimension)
    maker = DecisionMaker(weights=ScoreWeights(), policy=GreedyPolicy())
    core = RouterCore(
        encoder=encoder,
        features=features,
        learner=learner,
        maker=maker,
        store=store,
        clock=clock,
        rng=np.random.default_rng(1),
        price=priced,
        store_prompts=True,
        checkpoint_interval_s=7.0,
    )
    assert (core.encoder, core.features, core.learner, core.maker) == (encoder, features, learner, maker)
    assert (core.store, core.clock, core.store_prompts) == (store, clock, True)
    assert core.worker.checkpoint_interval_s == 7.0
    assert (core.worker.store, core.worker.learner, core.worker.clock) == (store, learner, clock)
    assert core.in_flight.clock is clock
    core.close()


# --- route ------------------------------------------------------------------------------------------------------------


def test_a_decision_tells_everything(router: Router) -> None:
    decision = router.route(Query(text="solve the equation", tokens_in=40, trade_off=2.5))
    assert decision.llm in {"small", "middle", "large"}
    assert [candidate.llm for candidate in decision.candidates] == ["small", "middle", "large"]
    assert sum(candidate.propensity for candidate in decision.candidates) == pytest.approx(1.0, abs=1e-12)
    assert decision.propensity > 0
    assert (decision.policy, decision.trade_off, decision.tokens_in) == ("squarecb", 2.5, 40)
    assert decision.cost_scale_usd == router.snapshot.cost_scale_usd > 0
    assert decision.model_version == router.snapshot.version
    assert 0 <= decision.seed < 1 << 63
    assert decision.reason
    assert decision.tags[0].tag == "maths"
    probabilities = [tag.probability for tag in decision.tags]
    assert probabilities == sorted(probabilities, reverse=True)
    assert router.decision(decision.decision_id).decision == decision


def test_ids_are_unique_uuids_that_sort_by_time() -> None:
    clock = ManualClock(start_s=1.7e9)
    with small_router(clock=clock) as made:
        ids = []
        for number in range(200):
            ids.append(made.route(question(number)).decision_id)
            clock.advance(0.001)
    assert ids == sorted(set(ids))
    for one in ids:
        parsed = uuid.UUID(one)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert uuid.UUID(ids[0]).int >> 80 == 1_700_000_000_000


def test_the_same_seed_gives_the_same_decisions() -> None:
    def run(seed: int | None) -> list[tuple[str, int, tuple[float, ...]]]:
        with small_router(seed=seed) as made:
            decisions = [made.route(question(number)) for number in range(60)]
        return [(one.llm, one.seed, tuple(candidate.propensity for candidate in one.candidates)) for one in decisions]

    assert run(3) == run(3)
    assert [llm for llm, _, _ in run(3)] != [llm for llm, _, _ in run(4)]
    assert run(None) != run(None)


def test_choices_follow_the_propensities(router: Router) -> None:
    decisions = [router.route("solve the equation", expect_outcome=False) for _ in range(1_500)]
    counts = Counter(one.llm for one in decisions)
    for candidate in decisions[0].candidates:
        assert counts[candidate.llm] / 1_500 == pytest.approx(candidate.propensity, abs=0.05)


@pytest.mark.parametrize(
    "text",
    ["", " ", "\0", "\ud800 lone", "x" * 200_000, "🦜" * 500, "\u202eright to left", "a\nb\tc"],
    ids=["empty", "blank", "nul", "surrogate", "long", "emoji", "bidi", "lines"],
)
@pytest.mark.parametrize("durable", [False, True], ids=["memory", "sqlite"])
def test_any_text_is_routed_stored_and_learned_from(tmp_path: Path, text: str, durable: bool) -> None:
    store = SQLiteStore(path=tmp_path / "r.db") if durable else MemoryStore()
    with small_router(store=store, store_prompts=True) as made:
        decision = made.route(text)
        made.record(decision.decision_id, Outcome(tokens_in=1, tokens_out=10, latency_s=0.5))
        made.feedback(decision.decision_id, quality=0.5)
        made.learn()
        assert made.learner.counts.outcomes == made.learner.counts.feedback == 1
        assert made.learner.counts.refused == 0
        assert made.decision(decision.decision_id).prompt is not None
        assert made.store.counts()["dropped"] == 0


def test_prompts_are_kept_only_where_asked(router: Router) -> None:
    decision = router.route("my secret question")
    assert router.decision(decision.decision_id).prompt is None
    assert "secret" not in repr(router.decision(decision.decision_id))
    with small_router(store_prompts=True) as made:
        assert made.decision(made.route("keep this").decision_id).prompt == "keep this"


def test_a_named_llm_is_taken(router: Router) -> None:
    decision = router.route(Query(text="hi", allowed_llms=frozenset({"small"})), llm="large")
    assert (decision.llm, decision.policy, decision.propensity) == ("large", "forced", 1.0)
    with pytest.raises(UnknownLLMError, match="Did you mean 'large'"):
        router.route("hi", llm="larg")


def test_constraints_are_kept(router: Router) -> None:
    router.add_llm(spec("eyes", 5.0, capabilities=frozenset({Capability.VISION})))
    decision = router.route(Query(text="what is on it?", needs=frozenset({Capability.VISION})))
    assert decision.llm == "eyes"
    assert {one.llm: one.reason for one in decision.ineligible} == dict.fromkeys(
        ("small", "middle", "large"), "cannot do vision"
    )
    with pytest.raises(NoEligibleLLMError, match="small: not among the allowed LLMs; middle:") as caught:
        router.route(Query(text="hi", allowed_llms=frozenset({"typo"})))
    assert len(caught.value.reasons) == 4


def test_an_empty_pool_says_so() -> None:
    with small_router(llms=()) as made:
        with pytest.raises(NoEligibleLLMError, match=r"The pool is empty\. Add an LLM"):
            made.route("hi")
        made.add_llm(SPECS[0])
        assert made.route("hi").llm == "small"
        made.remove_llm("small")
        with pytest.raises(NoEligibleLLMError, match="The pool is empty"):
            made.route("hi")


def test_a_querys_own_trade_off_counts() -> None:
    with small_router(routing=RoutingConfig(policy=PolicyConfig(name="greedy"))) as made:
        assert made.route(Query(text="hi", trade_off=0.0)).llm == "small"
        assert made.route(Query(text="hi", trade_off=1e6)).llm == "large"


def test_calls_under_way_are_waited_for() -> None:
    with small_router(llms=[spec("busy", 1.0, max_in_flight=1), spec("idle", 1.0)]) as made:
        decisions = [made.route("hi", llm="busy") for _ in range(3)]
        assert made.in_flight.counts() == {"busy": 3}
        waiting = forecasts(made)
        assert waiting["busy"].wait_s == pytest.approx(3 * waiting["idle"].latency_s.mean)
        made.route("hi", llm="busy", expect_outcome=False)
        for decision in decisions:
            made.record(decision.decision_id, Outcome(status=OutcomeStatus.ERROR))
        assert made.in_flight.counts() == {}
        assert forecasts(made)["busy"].wait_s == 0.0


# --- record -----------------------------------------------------------------------------------------------------------


def outcomes(router: Router, decision: Decision) -> tuple[Outcome, ...]:
    return router.decision(decision.decision_id).outcomes


def test_facts_are_kept_and_priced(router: Router) -> None:
    decision = router.route("hi", llm="large")
    kept = router.record(decision.decision_id, Outcome(tokens_in=100, tokens_out=300, latency_s=1.5))
    assert outcomes(router, decision) == (kept,)
    assert kept.llm == "large"
    assert kept.cost_usd == pytest.approx(10e-6 * 400)


def test_the_measured_cost_goes_before_the_price(router: Router) -> None:
    decision = router.route("hi", llm="large")
    router.record(decision.decision_id, Outcome(tokens_in=100, tokens_out=300, cost_usd=0.125))
    assert [one.cost_usd for one in outcomes(router, decision)] == [0.125]


def test_cached_and_reasoning_tokens_are_priced_apart(router: Router) -> None:
    price = Price(
        usd_per_million_tokens_in=4.0,
        usd_per_million_tokens_out=8.0,
        usd_per_million_tokens_cached_in=1.0,
        usd_per_million_tokens_reasoning=16.0,
    )
    router.add_llm(LLMSpec(name="new", price=price))
    decision = router.route("hi", llm="new")
    kept = router.record(
        decision.decision_id, Outcome(tokens_in=100, cached_tokens_in=60, tokens_out=50, reasoning_tokens=20)
    )
    assert kept.cost_usd == pytest.approx((40 * 4 + 60 * 1 + 30 * 8 + 20 * 16) / 1e6)


def test_without_tokens_there_is_no_cost(router: Router) -> None:
    decision = router.route("hi")
    assert router.record(decision.decision_id, Outcome(status=OutcomeStatus.TIMEOUT)).cost_usd is None


def test_recording_twice_counts_once(router: Router) -> None:
    decision = called(router)
    router.record(decision.decision_id, Outcome(tokens_in=50, tokens_out=9_000, latency_s=99.0))
    router.learn()
    assert [one.tokens_out for one in outcomes(router, decision)] == [200]
    assert router.learner.counts.outcomes == 1
    router.record(decision.decision_id, Outcome(tokens_in=50, tokens_out=5, attempt=1, llm="large"))
    assert [(one.attempt, one.llm) for one in outcomes(router, decision)] == [(0, decision.llm), (1, "large")]


def test_an_unknown_decision_is_named(router: Router) -> None:
    with pytest.raises(UnknownDecisionError, match="No decision 'nowhere'"):
        router.record("nowhere", Outcome())
    with pytest.raises(UnknownDecisionError, match="Use the id of a Decision"):
        router.decision("nowhere")


def test_a_call_to_an_llm_that_has_left_is_still_charged(router: Router) -> None:
    decision = router.route("hi", llm="large")
    router.remove_llm("large")
    kept = router.record(decision.decision_id, Outcome(tokens_in=100, tokens_out=300))
    assert kept.cost_usd == pytest.approx(10e-6 * 400)


def test_a_fallbacks_judgement_teaches_the_llm_that_answered(router: Router) -> None:
    decision = router.route("hi", llm="small")
    router.record(decision.decision_id, Outcome(status=OutcomeStatus.ERROR))
    router.record(decision.decision_id, Outcome(llm="large", attempt=1, tokens_in=5, tokens_out=9, latency_s=1.0))
    router.feedback(decision.decision_id, quality=0.0)
    router.learn()
    assert {name: one.judgements for name, one in forecasts(router).items()} == {"small": 0, "middle": 0, "large": 1}


# --- feedback ---------------------------------------------------------------------------------------------------------


def test_feedback_teaches(router: Router) -> None:
    before = forecasts(router)
    for number in range(30):
        decision = router.route("solve the equation", llm="small")
        assert not router.feedback(decision.decision_id, quality=1.0).duplicate
        decision = router.route("solve the equation", llm="large")
        router.feedback(decision.decision_id, thumbs=False)
        assert number < 30
    assert router.learn() + router.learner.counts.feedback >= 60
    after = forecasts(router)
    assert after["small"].quality.mean > before["small"].quality.mean
    assert after["large"].quality.mean < before["large"].quality.mean
    assert after["small"].quality.std < before["small"].quality.std
    assert after["small"].judgements == 30


def test_the_same_feedback_twice_learns_once(router: Router) -> None:
    """ParetoBandit learns and charges twice."""
    decision = called(router)
    first = router.feedback(decision.decision_id, quality=0.8)
    again = router.feedback(decision.decision_id, quality=0.8)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert first.feedback_id == again.feedback_id
    router.learn()
    assert router.learner.counts.feedback == 1
    assert len(router.decision(decision.decision_id).feedback) == 1


def test_another_judgement_under_the_same_id_is_refused(router: Router) -> None:
    decision = called(router)
    router.feedback(decision.decision_id, quality=0.8)
    with pytest.raises(ConflictingEventError, match="already recorded with another content"):
        router.feedback(decision.decision_id, quality=0.7)
    with pytest.raises(ConflictingEventError):
        router.feedback(decision.decision_id, thumbs=True)
    other = called(router, 1)
    router.feedback(decision.decision_id, quality=0.1, feedback_id="key-1")
    with pytest.raises(ConflictingEventError, match="'key-1'"):
        router.feedback(other.decision_id, quality=0.1, feedback_id="key-1")
    router.learn()
    assert router.learner.counts.feedback == 2


def test_each_source_and_metric_judges_by_itself(router: Router) -> None:
    decision = called(router)
    router.feedback(decision.decision_id, quality=0.8, tags={"b": "2", "a": "1"})
    router.feedback(decision.decision_id, quality=0.2, source="judge")
    router.feedback(decision.decision_id, quality=0.0, metric="politeness")
    router.learn()
    assert router.learner.counts.feedback == 2, "politeness teaches nothing"
    kept = router.decision(decision.decision_id).feedback
    assert [(one.source, one.metric, one.value) for one in kept] == [
        ("user", "quality", 0.8),
        ("judge", "quality", 0.2),
        ("user", "politeness", 0.0),
    ]
    assert kept[0].tags == (("a", "1"), ("b", "2"))


@pytest.mark.parametrize(
    ("judgement", "parameter"),
    [
        ({}, "quality, thumbs"),
        ({"quality": 0.5, "thumbs": True}, "quality, thumbs"),
        ({"quality": 0.0, "thumbs": False}, "quality, thumbs"),
        ({"quality": float("nan")}, "quality"),
        ({"quality": 1.01}, "quality"),
        ({"quality": -0.01}, "quality"),
        ({"quality": float("inf")}, "quality"),
        ({"quality": "good"}, "quality"),
        ({"quality": "0.5"}, "quality"),
        ({"quality": [0.5]}, "quality"),
        ({"thumbs": "up"}, "thumbs"),
        ({"thumbs": 0.7}, "thumbs"),
        ({"quality": 0.5, "feedback_id": ""}, "feedback_id"),
        ({"quality": 0.5, "feedback_id": "x" * 601}, "feedback_id"),
        ({"quality": 0.5, "metric": ""}, "metric"),
        ({"quality": 0.5, "source": ""}, "source"),
    ],
)
def test_judgements_that_are_none_are_refused(router: Router, judgement: dict[str, Any], parameter: str) -> None:
    decision = called(router)
    with pytest.raises(InvalidValueError) as caught:
        router.feedback(decision.decision_id, **judgement)
    assert caught.value.parameter == parameter
    assert router.decision(decision.decision_id).feedback == ()


def test_numpys_numbers_are_judgements_too(router: Router) -> None:
    judgements: list[dict[str, Any]] = [
        {"quality": np.float32(0.5)},
        {"thumbs": np.ones(1, np.bool_)[0]},
        {"quality": 1},
    ]
    for number, judgement in enumerate(judgements):
        router.feedback(called(router, number).decision_id, **judgement)
    router.learn()
    assert router.learner.counts.feedback == 3


def test_feedback_on_an_unknown_decision_is_refused(router: Router) -> None:
    with pytest.raises(UnknownDecisionError, match="No decision 'nowhere'"):
        router.feedback("nowhere", quality=0.5)
    assert isinstance(router.submit_feedback("nowhere", quality=0.5).exception(), UnknownDecisionError)


def test_feedback_may_come_without_an_outcome_and_late(router: Router) -> None:
    decision = router.route("hi")
    router.remove_llm(decision.llm)
    router.feedback(decision.decision_id, thumbs=True)
    router.learn()
    assert router.learner.counts.feedback == 1


def test_the_background_learns_by_itself(router: Router) -> None:
    version = router.snapshot.version
    for number in range(5):
        router.feedback(called(router, number).decision_id, quality=0.9)
    deadline = threading.Event()
    for _ in range(500):
        if router.learner.counts.feedback == 5:
            break
        deadline.wait(0.01)
    assert router.learner.counts.feedback == 5
    assert router.learn() == 0 or router.snapshot.version > version
    assert router.snapshot.version > version


# --- the pool ---------------------------------------------------------------------------------------------------------


def test_an_llm_can_be_chosen_as_soon_as_it_is_added(router: Router) -> None:
    added = router.add_llm(spec("new", 0.5))
    assert added in router.llms
    assert router.llm("new") == added
    assert router.route("hi", llm="new").llm == "new"


def test_a_price_is_looked_up_and_an_unknown_one_changes_nothing(router: Router) -> None:
    added = router.add_llm(LLMSpec(name="gpt-4o-mini"))
    assert added.price is not None
    before = router.llms
    with pytest.raises(UnknownPriceError, match="No price is known for LLM 'mystery'"):
        router.add_llm(LLMSpec(name="mystery"))
    assert router.llms == before
    assert {change.spec.name for change in router.store.pool_changes()} == {"gpt-4o-mini"}


def test_mistakes_in_the_pool_are_refused(router: Router) -> None:
    with pytest.raises(DuplicateLLMError, match="'small' is already in the pool"):
        router.add_llm(spec("small", 3.0))
    with pytest.raises(UnknownLLMError, match="The pool holds: large, middle, small"):
        router.remove_llm("nobody")
    with pytest.raises(UnknownLLMError):
        router.llm("nobody")
    with pytest.raises(DuplicateLLMError, match="'small'"):
        small_router(llms=[*SPECS, spec("small", 1.0)])
    assert router.llms == SPECS


def test_a_removed_llm_is_never_chosen(router: Router) -> None:
    router.remove_llm("small")
    for number in range(100):
        decision = router.route(question(number))
        assert decision.llm != "small"
        assert "small" not in {candidate.llm for candidate in decision.candidates}
    with pytest.raises(UnknownLLMError):
        router.route("hi", llm="small")


def teach(router: Router, count: int = 60) -> None:
    """Teach the same, however the background's learning falls between."""
    rng = np.random.default_rng(1)
    for number in range(count):
        decision = router.route(question(number), llm=SPECS[number % 3].name)
        tokens_out, latency_s = int(rng.integers(20, 800)), float(rng.uniform(1, 5))
        router.record(decision.decision_id, Outcome(tokens_in=50, tokens_out=tokens_out, latency_s=latency_s))
        router.feedback(decision.decision_id, quality=float(rng.uniform()))
    router.learn()


def test_an_llm_that_returns_is_what_it_was(router: Router) -> None:
    teach(router)
    texts = [question(number) for number in range(10)]
    before = [forecasts(router, text) for text in texts]
    router.remove_llm("small")
    router.add_llm(SPECS[0])
    after = [forecasts(router, text) for text in texts]
    for old, new in zip(before, after, strict=True):
        assert new["small"] == old["small"]


def test_adding_and_removing_leaves_the_others_decisions_as_they_were() -> None:
    def run(*, visit: bool) -> list[tuple[str, tuple[float, ...]]]:
        with small_router(seed=11) as made:
            teach(made)
            if visit:
                made.add_llm(spec("visitor", 500.0))
                made.remove_llm("visitor")
            decisions = [made.route(question(number)) for number in range(50)]
        return [(one.llm, tuple(candidate.score for candidate in one.candidates)) for one in decisions]

    assert run(visit=True) == run(visit=False)


def test_adding_an_llm_moves_no_other_score(router: Router) -> None:
    teach(router)
    before = {one.llm: one.score for one in router.route("solve the equation", expect_outcome=False).candidates}
    router.add_llm(spec("dear", 1_000.0))
    router.add_llm(spec("free", 0.0))
    after = {one.llm: one.score for one in router.route("solve the equation", expect_outcome=False).candidates}
    for name, score in before.items():
        assert after[name] == pytest.approx(score, abs=1e-6)


# --- threads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "sqlite"])
def test_many_threads_at_once_lose_nothing(tmp_path: Path, durable: bool) -> None:
    """Decide, record, judge, add and remove at once: every count adds up, and the pool is always the pool."""
    threads, rounds = 6, 25
    store = SQLiteStore(path=tmp_path / "r.db") if durable else MemoryStore()
    made = small_router(store=store)
    start = threading.Barrier(threads + 2)
    removed_ids: list[str] = []

    def traffic(thread: int) -> int:
        start.wait()
        for number in range(rounds):
            decision = made.route(question(thread * rounds + number))
            assert sum(one.propensity for one in decision.candidates) == pytest.approx(1.0)
            assert {"small", "middle", "large"} <= {one.llm for one in decision.candidates}
            outcome = Outcome(tokens_in=9, tokens_out=40, latency_s=1.0)
            made.record(decision.decision_id, outcome)
            made.record(decision.decision_id, outcome)
            receipts = [made.feedback(decision.decision_id, quality=0.5) for _ in range(2)]
            assert [receipt.duplicate for receipt in receipts] == [False, True]
        return rounds

    def pool(thread: int) -> int:
        start.wait()
        for number in range(10):
            name = f"guest-{thread}-{number}"
            made.add_llm(spec(name, 1.0))
            assert name in {one.name for one in made.llms}
            made.remove_llm(name)
            decision = made.route(question(number), expect_outcome=False)
            assert name not in {one.llm for one in decision.candidates}
            removed_ids.append(name)
        return 10

    with ThreadPoolExecutor(threads + 2) as workers:
        futures = [workers.submit(traffic, thread) for thread in range(threads)]
        futures += [workers.submit(pool, thread) for thread in range(2)]
        done = [future.result(timeout=60) for future in futures]
    total = threads * rounds
    assert sum(done) == total + 20
    made.learn()
    counts = made.learner.counts
    assert (counts.outcomes, counts.feedback, counts.refused) == (total, total, 0)
    assert made.store.counts()["decisions"] == total + 20
    assert made.store.counts()["outcomes"] == made.store.counts()["feedback"] == total
    assert made.in_flight.counts() == {}
    assert made.llms == SPECS
    judged = [array[1] for name, array in made.learner.checkpoint().arrays.items() if name.endswith("quality.sums")]
    assert sum(judged) == total, "guests were judged too, and are not forgotten"
    assert len(judged) == 3 + len(removed_ids) == 23
    made.close()


def test_versions_seen_by_a_reader_never_fall(router: Router) -> None:
    seen: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(router.snapshot.version)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(30):
        router.feedback(called(router, number).decision_id, quality=0.5)
        if number % 5 == 0:
            router.add_llm(spec(f"guest {number}", 1.0))
    router.learn()
    stop.set()
    reader.join()
    assert seen == sorted(seen)


# --- closing ----------------------------------------------------------------------------------------------------------


def test_closing_twice_is_closing_once() -> None:
    made = small_router()
    called(made)
    made.close()
    made.close()
    with made:
        assert not made.worker.running
    for call in (lambda: made.route("hi"), lambda: made.feedback("x", quality=1.0)):
        with pytest.raises(StoreClosedError, match="Open a new one"):
            call()
    assert not made.worker.running


class FullDisk(MemoryStore):
    """A store that cannot keep checkpoints."""

    closed = False

    def save_state(self, state: LearnedState) -> None:
        raise StoreError("The disk is full. Make room.")

    def close(self) -> None:
        self.closed = True
        super().close()


def test_a_store_that_fails_at_the_end_is_closed_all_the_same() -> None:
    store = FullDisk()
    made = small_router(store=store)
    made.feedback(called(made).decision_id, quality=0.5)
    with pytest.raises(StoreError, match="The disk is full"):
        made.close()
    assert store.closed
    made.close()


def test_the_clock_is_the_one_that_is_given() -> None:
    clock = ManualClock(start_s=123.0)
    with small_router(clock=clock) as made:
        decision = called(made)
        assert decision.created_at_s == 123.0
        clock.advance(2.0)
        made.feedback(decision.decision_id, quality=0.5)
        assert made.decision(decision.decision_id).feedback[0].created_at_s == 125.0
    with small_router() as made:
        assert isinstance(made.clock, SystemClock)


def test_a_decision_survives_json(router: Router) -> None:
    decision = router.route(Query(text="hi", allowed_llms=frozenset({"small"})))
    assert msgspec.json.decode(msgspec.json.encode(decision), type=Decision) == decision
    assert EXPLORING.policy.name == decision.policy
