"""Several routers on one store: they know the same, agree on the pool, and spend one budget."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.postgres_server import Server
from tests.small_router import assert_alike, called, expectations, question, small_router, spec

from mixllm import Outcome, Price, Query, Router
from mixllm.decision import Period
from mixllm.errors import BudgetExhaustedError
from mixllm.interfaces import Store
from mixllm.router import BudgetLimits
from mixllm.store import MemoryStore, PostgresStore, SQLiteStore
from mixllm.types import DecisionRecord, OutcomeEvent, PoolChange

PATIENCE_S = 20.0
A_SECOND_S = 1.0

OpenStore = Callable[[], Store]


@pytest.fixture(params=["postgres", "sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Opens one and the same store, each time as another process would."""
    if request.param == "sqlite":
        return lambda: SQLiteStore(path=tmp_path / "mixllm.db")
    server: Server = request.getfixturevalue("postgres")
    schema = server.schema()
    return lambda: PostgresStore(url=server.url, schema=schema, spool=tmp_path / "spool")


@pytest.fixture
def replicas(open_store: OpenStore) -> Iterator[list[Router]]:
    with ExitStack() as stack:
        routers = [stack.enter_context(small_router(store=open_store(), seed=seed)) for seed in range(3)]
        for router in routers:
            router.worker.start()
        yield routers


def eventually(condition: Callable[[], bool], *, within_s: float = PATIENCE_S) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never happens"
        time.sleep(0.005)


def drive(router: Router, numbers: Sequence[int], *, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for number in numbers:
        decision = router.route(Query(text=question(number), key_id=f"key-{number % 3}"))
        tokens_out, latency_s = int(rng.integers(20, 800)), float(rng.uniform(1, 5))
        router.record(decision.decision_id, Outcome(tokens_in=50, tokens_out=tokens_out, latency_s=latency_s))
        if number % 5:
            router.submit_feedback(decision.decision_id, quality=float(rng.uniform()), key_id=f"key-{number % 3}")


def _names(router: Router) -> set[str]:
    return {one.name for one in router.llms}


def _has_seen(router: Router, position: int, names: set[str]) -> bool:
    return router.snapshot.position == position and _names(router) == names


def told_again(store: Store) -> Router:
    """Return one router that was told everything that `store` holds, in its order."""
    one = small_router(store=MemoryStore())
    changes = list(store.placed_changes(0))
    known: set[str] = set()

    def change_before(seq: float) -> None:
        while changes and changes[0].after_seq < seq:
            one.learn()
            change = changes.pop(0).change
            assert isinstance(change, PoolChange)
            one.store.append_pool_change(change)
            one.learn()

    for event in store.events_after(0, limit=100_000):
        change_before(event.seq)
        if event.decision_id not in known:
            known.add(event.decision_id)
            decision = store.decision(event.decision_id).decision
            one.store.append_decision(DecisionRecord(decision=decision, encoding=event.encoding))
        if event.feedback is not None:
            one.store.append_feedback(event.feedback).result()
        elif event.outcome is not None:
            one.store.append_outcome(
                OutcomeEvent(decision_id=event.decision_id, outcome=event.outcome, created_at_s=event.created_at_s)
            )
    change_before(math.inf)
    one.learn()
    return one


@pytest.mark.usefixtures("standing_clock")
def test_replicas_end_with_the_model_of_one_with_all_the_traffic(replicas: list[Router], open_store: OpenStore) -> None:
    first, second, third = replicas
    with ThreadPoolExecutor(3) as pool:
        for _ in pool.map(lambda place: drive(replicas[place], range(place, 90, 3), seed=place), range(3)):
            pass
        # The pool changes while the traffic goes on, each time at another gateway.
        busy = [pool.submit(drive, router, range(100, 140), seed=9 + row) for row, router in enumerate(replicas)]
        second.add_llm(spec("newcomer", 0.5))
        third.set_price("large", Price(usd_per_million_tokens_in=2.0, usd_per_million_tokens_out=2.0))
        first.remove_llm("middle")
        for one in busy:
            one.result()
    for router in replicas:
        router.store.flush()
    store = open_store()
    try:
        last = store.last_seq()
        assert last == 2 * 90 - 18 + 3 * (2 * 40 - 8)
        names = {"small", "large", "newcomer"}
        for router in replicas:
            eventually(partial(_has_seen, router, last, names))
        with told_again(store) as alone:
            assert _names(alone) == names
            expected, answers = alone.learner.checkpoint().arrays, expectations(alone)
            for router in replicas:
                learned = router.learner.checkpoint().arrays
                assert learned.keys() == expected.keys()
                for name, array in learned.items():
                    np.testing.assert_allclose(array, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)
                assert_alike(expectations(router), answers)
    finally:
        store.close()


def test_all_agree_on_a_change_of_the_pool_within_a_second(replicas: list[Router]) -> None:
    first, second, third = replicas
    called(first)
    changed = msgspec.structs.replace(spec("new", 0.7), api_base="http://127.0.0.1:9/v1")
    dearer = Price(usd_per_million_tokens_in=9, usd_per_million_tokens_out=9)

    def all_see(seen: Callable[[Router], bool]) -> None:
        assert any(seen(router) for router in replicas), "who changes it sees it when the call returns"
        eventually(lambda: all(seen(router) for router in replicas), within_s=A_SECOND_S)

    second.add_llm(changed)
    all_see(lambda router: changed in router.llms)
    first.set_price("new", dearer)
    all_see(lambda router: router.llm("new").price == dearer)
    third.remove_llm("new")
    all_see(lambda router: "new" not in [one.name for one in router.llms])


def test_an_event_of_one_is_learned_by_all_at_once(replicas: list[Router]) -> None:
    decision = called(replicas[0])
    replicas[0].feedback(decision.decision_id, thumbs=True)
    eventually(lambda: all(router.learner.position == 2 for router in replicas), within_s=A_SECOND_S)


def test_feedback_may_come_to_another_replica_and_counts_once(replicas: list[Router]) -> None:
    decision = called(replicas[0])
    replicas[0].store.flush()
    receipts = [router.feedback(decision.decision_id, quality=0.5) for router in replicas]
    assert [receipt.duplicate for receipt in receipts] == [False, True, True]
    eventually(lambda: all(router.learner.counts.feedback == 1 for router in replicas))


def test_a_new_replica_starts_from_the_checkpoint_of_another(replicas: list[Router], open_store: OpenStore) -> None:
    drive(replicas[0], range(40), seed=1)
    replicas[0].learn()
    replicas[0].worker.checkpoint()
    replicas[1].add_llm(spec("newcomer", 0.5))
    drive(replicas[1], range(40, 60), seed=2)
    replicas[1].learn()
    with small_router(store=open_store()) as late:
        assert late.learner.position == replicas[1].learner.position
        assert late.learner.counts.feedback < 48, "not everything is learned again"
        for name, array in late.learner.checkpoint().arrays.items():
            np.testing.assert_allclose(array, replicas[1].learner.checkpoint().arrays[name], rtol=1e-9, err_msg=name)


def test_checkpoints_of_replicas_have_versions_of_their_own(replicas: list[Router]) -> None:
    for round_ in range(3):
        for row, router in enumerate(replicas):
            drive(router, range(4), seed=row)
            router.learn()
            router.worker.checkpoint()
        versions = list(replicas[0].store.state_versions())
        assert len(versions) == len(set(versions)) == 3 * (round_ + 1), "none takes the place of another's"
        assert versions == sorted(versions)


def test_one_checkpoint_an_interval_is_enough(replicas: list[Router]) -> None:
    first, second, _ = replicas
    drive(first, range(4), seed=1)
    first.learn()
    second.learn()
    first.worker.checkpoint()
    assert second.worker._kept_by_others(), "what the other one kept is as good"
    assert not second.worker._kept_by_others(), "but only for this interval"


def test_a_budget_is_spent_together(open_store: OpenStore) -> None:
    limits = BudgetLimits(period=Period(name="day"), usd=0.001)
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(small_router(store=open_store(), budget=limits, seed=seed)) for seed in range(2)
        )
        second.worker.start()
        decision = first.route("What is the sum?")
        first.record(decision.decision_id, Outcome(tokens_in=50, tokens_out=50, cost_usd=0.002, latency_s=1.0))
        assert second.budget is not None
        eventually(lambda: second.budget is not None and second.budget.status().spent_usd == 0.002)
        with pytest.raises(BudgetExhaustedError):
            second.route("What is the product?")
        with small_router(store=open_store(), budget=limits) as late, pytest.raises(BudgetExhaustedError):
            late.route("Who judges?")


def test_changes_of_the_pool_at_the_same_moment_end_alike(replicas: list[Router]) -> None:
    prices = [Price(usd_per_million_tokens_in=usd, usd_per_million_tokens_out=usd) for usd in (2.0, 3.0, 4.0)]
    start = threading.Barrier(3)

    def change(row: int) -> None:
        start.wait(PATIENCE_S)
        for _ in range(5):
            replicas[row].set_price("middle", prices[row])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(change, range(3)))
    newest = [one.spec.price for one in replicas[0].store.pool_changes()]
    eventually(lambda: all(router.llm("middle").price == newest[-1] for router in replicas), within_s=A_SECOND_S)
