"""The router: route · record · feedback · add_llm · remove_llm, alone and from many threads."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.small_router import (
    EXPLORING,
    SPECS,
    called,
    forecasts,
    question,
    small_router,
    spec,
)

from mixllm import Capability, LLMSpec, MemoryStore, Outcome, OutcomeStatus, Price, Query, Router, SQLiteStore
from mixllm.clock import ManualClock, SystemClock
from mixllm.config import PolicyConfig, RoutingConfig
from mixllm.decision import DecisionMaker, GreedyPolicy, ScoreWeights
from mixllm.encoders import HashingEncoder
from mixllm.errors import (
    NoEligibleLLMError,
    StoreClosedError,
    StoreError,
    UnknownDecisionError,
    UnknownLLMError,
)
from mixllm.learning import Learner
from mixllm.registry import priced
from mixllm.router import RouterCore
from mixllm.tags import PrototypeTagger, TagFeatures, TruncatedProjection
from mixllm.types import Decision, LearnedState


@pytest.fixture(autouse=True)
def impatient_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixllm.learning.worker._IDLE_WAIT_S", 0.02)


@pytest.fixture
def router() -> Iterator[Router]:
    with small_router() as made:
        yield made


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
        decisions = [made.route("hi", llm="busy") for _ in range(2)]
        assert made.in_flight.counts() == {"busy": 2}
        waiting = forecasts(made)
        assert waiting["busy"].wait_s == pytest.approx(2 * waiting["idle"].latency_s.mean)
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

    def save_state(self, state: LearnedState, *, announce: bool = False) -> None:
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
