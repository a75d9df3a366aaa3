"""LLMs that come and go, and many threads at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.small_router import (
    SPECS,
    called,
    forecasts,
    question,
    small_router,
    spec,
    teach,
)

from mixllm import Forecast, LLMSpec, MemoryStore, Outcome, Router, SQLiteStore
from mixllm.errors import (
    DuplicateLLMError,
    UnknownLLMError,
    UnknownPriceError,
)


@pytest.fixture(autouse=True)
def impatient_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixllm.learning.worker._IDLE_WAIT_S", 0.02)


@pytest.fixture
def router() -> Iterator[Router]:
    with small_router() as made:
        yield made


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


@pytest.mark.usefixtures("standing_clock")
def test_an_llm_that_returns_is_what_it_was(router: Router) -> None:
    teach(router)
    texts = [question(number) for number in range(10)]
    before = [forecasts(router, text) for text in texts]
    router.remove_llm("small")
    router.add_llm(SPECS[0])
    after = [forecasts(router, text) for text in texts]
    for old, new in zip(before, after, strict=True):
        # It comes back in another row, where a product in single precision may round otherwise.
        assert numbers(new["small"]) == pytest.approx(numbers(old["small"]), rel=1e-6)


def numbers(forecast: Forecast) -> list[float]:
    estimates = (forecast.quality, forecast.tokens_out, forecast.cost_usd, forecast.ttft_s, forecast.latency_s)
    return [number for one in estimates for number in (one.mean, one.std)] + [forecast.judgements]


@pytest.mark.usefixtures("standing_clock")
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


def test_an_older_snapshot_never_takes_the_place_of_a_newer_one(router: Router) -> None:
    """The worker may have frozen its snapshot before the pool changed, and publish it after."""
    stale = router.learner.snapshot()
    router.remove_llm("small")
    router._publish(stale)
    assert [one.name for one in router.llms] == ["middle", "large"]
