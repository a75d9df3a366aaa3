"""Routers that follow a learner over a socket: they know what it knows, and lose nothing where it goes away."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
import pytest
from tests.postgres_server import Server
from tests.small_router import TAGS, assert_alike, called, expectations, question, small_router, spec, teach

from mixllm import Outcome, Price, Query, Router
from mixllm.clock import ManualClock
from mixllm.decision import Period
from mixllm.errors import InvalidValueError, StateError, StoreError
from mixllm.interfaces import Store
from mixllm.learning import Snapshot
from mixllm.learning.apart import FollowingWorker, LearningServer
from mixllm.router import BudgetLimits
from mixllm.store import PostgresStore, SQLiteStore
from mixllm.types import PoolChange

PATIENCE_S = 20.0


def eventually(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never happens"
        time.sleep(0.005)


class Apart:
    """One store, a router that learns on a socket, and others that follow it; each as a process would be.

    Parameters
    ----------
    open_store
        Opens the store, each time as another process would.
    folder
        Where the socket is.
    """

    def __init__(self, open_store: Callable[[], Store], folder: Path) -> None:
        self.open_store = open_store
        self.path = folder / "learner"
        self._stack = ExitStack()
        self._learner: tuple[Router, LearningServer] | None = None

    @property
    def learner(self) -> Router:
        assert self._learner is not None
        return self._learner[0]

    def start_learner(self, **change: Any) -> Router:
        router = small_router(store=self.open_store(), **change)
        router.worker.start()
        self._learner = router, LearningServer(worker=router.worker, path=self.path)
        return router

    def kill_learner(self) -> None:
        """End it without a word: nothing more is learned, and no checkpoint is kept."""
        router, server = self._learner or (None, None)
        assert router is not None
        assert server is not None
        router.worker._stop.set()
        server.close()
        router.store.close()
        self._learner = None

    def follower(self, *, patience_s: float = 60.0, **change: Any) -> Router:
        router = self._stack.enter_context(small_router(store=self.open_store(), **change))
        router.worker = FollowingWorker(worker=router.worker, path=self.path, patience_s=patience_s)
        router.worker.start()
        return router

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if self._learner is not None:
            router, server = self._learner
            server.close()
            router.close()


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Apart]:
    with Apart(lambda: SQLiteStore(path=tmp_path / "mixllm.db"), tmp_path) as made:
        yield made


@pytest.fixture(params=["postgres", "sqlite"])
def any_apart(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Apart]:
    def open_sqlite() -> Store:
        return SQLiteStore(path=tmp_path / "mixllm.db")

    open_store = open_sqlite
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres")
        schema = server.schema()

        def open_store() -> Store:
            return PostgresStore(url=server.url, schema=schema, spool=tmp_path / "spool")

    with Apart(open_store, tmp_path) as made:
        yield made


def drive(router: Router, first: int, count: int) -> None:
    rng = np.random.default_rng(first)
    for number in range(first, first + count):
        decision = router.route(Query(text=question(number), key_id=f"key-{number % 3}"))
        tokens_out, latency_s = int(rng.integers(20, 800)), float(rng.uniform(1, 5))
        router.record(decision.decision_id, Outcome(tokens_in=50, tokens_out=tokens_out, latency_s=latency_s))
        if number % 5:
            router.submit_feedback(decision.decision_id, quality=float(rng.uniform()), key_id=f"key-{number % 3}")


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("mixllm-learning")}


def test_patience_must_be_positive(apart: Apart) -> None:
    with small_router() as router, pytest.raises(InvalidValueError, match="patience_s must be"):
        FollowingWorker(worker=router.worker, path=apart.path, patience_s=0.0)


@pytest.mark.usefixtures("standing_clock")
def test_all_decide_from_what_one_has_learned_of_all_their_traffic(any_apart: Apart) -> None:
    learner = any_apart.start_learner()
    followers = [any_apart.follower(seed=seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        busy = [pool.submit(drive, router, 100 * row, 40) for row, router in enumerate(followers)]
        followers[1].add_llm(spec("newcomer", 0.5))
        followers[2].set_price("large", Price(usd_per_million_tokens_in=2.0, usd_per_million_tokens_out=2.0))
        followers[0].remove_llm("middle")
        for one in busy:
            one.result()
    for router in followers:
        router.store.flush()
    last = learner.store.last_seq()
    assert last == 3 * (2 * 40 - 8)
    for router in followers:
        eventually(lambda: router.snapshot.position == last)  # noqa: B023 -- called at once
        # A change that comes after the last event is told with a snapshot of the same position.
        eventually(lambda: {one.name for one in router.llms} == {"small", "large", "newcomer"})  # noqa: B023
        assert router.llm("large").price == learner.llm("large").price
        assert router.learner.price("large") == learner.learner.price("large")
        assert router.learner.position == 0, "it has learned nothing itself"
        vitals = router.worker.vitals()
        assert (vitals.running, vitals.position, vitals.lag) == (True, last, 0)
        assert vitals.outcomes + vitals.feedback + vitals.ignored == last
        assert_alike(expectations(router), expectations(learner))
        # To the last bit: it is the same snapshot.
        assert np.array_equal(router.snapshot.quality.covariances, learner.snapshot.quality.covariances)
        assert np.array_equal(router.snapshot.quality.means, learner.snapshot.quality.means)


def test_what_one_says_is_known_to_it_when_learn_returns_and_soon_to_others(any_apart: Apart) -> None:
    any_apart.start_learner()
    first, second = any_apart.follower(), any_apart.follower()
    decision = called(first)
    first.feedback(decision.decision_id, quality=1.0)
    first.learn()
    assert first.snapshot.position == 2
    assert sum(first.snapshot.judgements) == 1.0
    eventually(lambda: second.snapshot.position == 2)
    assert second.learn() == 0


def test_one_judgement_is_followed_without_asking(apart: Apart) -> None:
    apart.start_learner()
    router = apart.follower()
    before = router.swaps
    router.feedback(called(router).decision_id, quality=1.0)
    eventually(lambda: sum(router.snapshot.judgements) == 1.0)
    assert router.swaps > before


def test_an_llm_that_came_has_its_price_before_it_is_chosen(apart: Apart) -> None:
    apart.start_learner()
    first, second = apart.follower(), apart.follower()
    make_change = second.worker.make_change
    assert make_change is not None
    seen: list[bool] = []

    def look(change: PoolChange, live: bool) -> None:
        seen.append(live and "new" not in {one.name for one in second.llms})
        make_change(change, live)

    second.worker.make_change = look
    first.add_llm(spec("new", 4.0))
    assert first.learner.price("new") == spec("new", 4.0).price
    assert first.route("solve", llm="new").llm == "new"
    eventually(lambda: "new" in {one.name for one in second.llms})
    assert seen == [True]
    first.remove_llm("new")
    assert "new" not in {one.name for one in first.llms}
    eventually(lambda: "new" not in {one.name for one in second.llms})


def test_a_changed_configuration_becomes_the_pool_at_once(apart: Apart) -> None:
    apart.start_learner()
    router = apart.follower()
    pools: list[set[str]] = []
    publish = router.worker.publish

    def note(snapshot: Snapshot) -> None:
        publish(snapshot)
        pools.append({one.name for one in router.llms})

    router.worker.publish = note
    router.put_pool([spec("small", 0.1), spec("one", 1.0), spec("two", 2.0)])
    assert {one.name for one in router.llms} == {"small", "one", "two"}
    whole = ({"small", "middle", "large"}, {"small", "one", "two"})
    assert [pool for pool in pools if pool not in whole] == []


def test_budgets_are_charged_once_for_what_all_spend(apart: Apart) -> None:
    limits = BudgetLimits(period=Period(name="day"), usd=100.0)
    apart.start_learner()
    first, second = (apart.follower(budget=limits, seed=seed) for seed in range(2))
    drive(first, 0, 20)
    first.learn()
    first.worker.checkpoint()
    drive(second, 20, 20)
    for router in (first, second):
        router.store.flush()
    spent = math.fsum(first.store.spent_usd(since_s=0.0).values())
    assert spent > 0
    for router in (first, second):
        router.learn()
        assert router.budget is not None
        assert router.budget.status().spent_usd == pytest.approx(spent, rel=1e-12)
        total = router.budget.status().total
        assert total is not None
        assert total.reserved_usd == 0.0
    first.worker.roll_back(relearn=True)
    first.learn()
    assert first.budget is not None
    assert first.budget.status().spent_usd == pytest.approx(spent, rel=1e-12)


def test_a_rollback_reaches_all(apart: Apart) -> None:
    learner = apart.start_learner()
    first, second = apart.follower(), apart.follower()
    teach(first, 12)
    first.worker.checkpoint()
    judged = first.snapshot.judgements
    teach(second, 12, first=12)
    second.worker.checkpoint()
    with pytest.raises(StateError, match="There is no checkpoint of version 999"):
        first.worker.roll_back(999)
    done = first.worker.roll_back()
    assert first.snapshot.judgements == judged
    assert first.snapshot.position == done.position == 48
    eventually(lambda: second.snapshot.judgements == judged)
    assert learner.store.states()[-1].version == done.version


def test_another_learner_is_merged_for_all(apart: Apart) -> None:
    learner = apart.start_learner()
    router = apart.follower()
    with small_router() as other:
        teach(other, 9)
        router.merge(other.learner.checkpoint())
        assert router.snapshot.judgements == other.snapshot.judgements
        with pytest.raises(StateError, match="would count twice"):
            router.merge(learner.learner.checkpoint())


def test_a_learner_that_dies_is_followed_again_with_nothing_lost_or_learned_twice(any_apart: Apart) -> None:
    any_apart.start_learner()
    router = any_apart.follower()
    drive(router, 0, 20)
    router.learn()
    router.worker.checkpoint()
    drive(router, 20, 10)
    router.learn()
    version = router.snapshot.version
    any_apart.kill_learner()
    drive(router, 30, 10)  # Requests never notice.
    router.store.flush()
    waiting = threading.Thread(target=router.add_llm, args=(spec("new", 1.0),))
    waiting.start()
    learner = any_apart.start_learner()
    waiting.join(PATIENCE_S)
    router.learn()
    assert router.snapshot.position == 40 + 32
    assert router.snapshot.version > version
    assert "new" in {one.name for one in router.llms}
    with small_router(store=any_apart.open_store()) as alone:
        mine, theirs = learner.learner.checkpoint().arrays, alone.learner.checkpoint().arrays
        assert mine.keys() == theirs.keys()
        for name, array in mine.items():
            np.testing.assert_allclose(array, theirs[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_without_a_learner_requests_go_on_and_what_needs_it_says_so(apart: Apart) -> None:
    router = apart.follower(patience_s=0.2)
    assert called(router).llm
    with pytest.raises(StoreError, match="The process that learns does not answer"):
        router.learn()
    with pytest.raises(StoreError, match="does not answer"):
        router.worker.roll_back()
    assert router.worker.vitals().running


def test_a_learner_that_is_away_for_long_shows_in_the_vitals(apart: Apart) -> None:
    clock = ManualClock(start_s=1.7e9)
    router = apart.follower(clock=clock)
    clock.advance(59.0)
    assert router.worker.vitals().running
    clock.advance(2.0)
    assert not router.worker.vitals().running
    assert router.worker.running, "it still follows"


def test_one_that_does_not_answer_in_time_is_no_success(apart: Apart) -> None:
    learner = apart.start_learner()
    router = apart.follower(patience_s=0.3)
    router.learn()
    with learner.worker.paused(), pytest.raises(StoreError, match="has not said whether it is done"):
        router.worker.roll_back()


def test_a_failing_store_is_told(apart: Apart) -> None:
    learner = apart.start_learner()
    router = apart.follower()
    router.learn()
    learner.store.close()
    with pytest.raises(StoreError, match="closed"):
        router.learn()
    apart.kill_learner()


def test_a_learner_with_other_features_is_not_followed(apart: Apart, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    apart.start_learner(tags=msgspec.structs.replace(TAGS, projection_dimension=4))
    router = apart.follower(patience_s=0.5)
    before = router.snapshot
    with pytest.raises(StoreError):
        router.learn()
    assert router.snapshot is before
    assert called(router).llm
    told = [record for record in caplog.records if "restart the gateway" in record.getMessage()]
    assert len(told) == 1, "once, not ten times a second"


def test_nothing_of_it_is_left_after_the_end(apart: Apart) -> None:
    before = threads()
    learner = apart.start_learner()
    with small_router(store=apart.open_store()) as router:
        router.worker = FollowingWorker(worker=router.worker, path=apart.path)
        router.worker.start()
        router.worker.start()
        drive(router, 0, 5)
    assert not router.worker.running
    learner.worker.catch_up()
    assert learner.learner.position == 9
    apart.kill_learner()
    eventually(lambda: threads() <= before)
    assert not apart.path.exists()
