"""A rollback or a merge of one router on a store is followed by all others, those that start later included."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from tests.postgres_server import Server
from tests.small_router import called, small_router, spec, teach

from mixllm import Router
from mixllm.clock import ManualClock
from mixllm.interfaces import Store
from mixllm.learning.rollback import roll_back_store
from mixllm.store import PostgresStore, SQLiteStore

PATIENCE_S = 20.0

OpenStore = Callable[[], Store]


@pytest.fixture(params=["postgres", "sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
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


def eventually(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never happens"
        time.sleep(0.01)


def judgements(router: Router) -> float:
    return sum(router.snapshot.judgements)


def settled(routers: list[Router]) -> bool:
    newest = routers[0].store.last_seq()
    changes = {router.worker._change for router in routers}
    return len(changes) == 1 and all(
        router.learner.position == router.snapshot.position == newest for router in routers
    )


def assert_same(routers: list[Router]) -> None:
    eventually(lambda: settled(routers))
    first, *others = (router.learner.checkpoint().arrays for router in routers)
    for arrays in others:
        assert arrays.keys() == first.keys()
        for name, array in first.items():
            np.testing.assert_allclose(arrays[name], array, rtol=1e-9, atol=1e-9, err_msg=name)


def poisoned(replicas: list[Router]) -> int:
    """Have all of them learn something good, which is kept, then poison; return the good version."""
    teach(replicas[0], 12)
    eventually(lambda: settled(replicas))
    replicas[0].worker.checkpoint(always=True)
    good = replicas[0].store.state_versions()[-1]
    teach(replicas[1], 30, first=1000)
    eventually(lambda: settled(replicas))
    eventually(lambda: all(judgements(router) == pytest.approx(42) for router in replicas))
    return good


@pytest.mark.usefixtures("standing_clock")
@pytest.mark.parametrize("relearn", [False, True])
def test_all_go_back_and_learn_on_from_there(replicas: list[Router], open_store: OpenStore, relearn: bool) -> None:
    good = poisoned(replicas)
    replicas[1].worker.roll_back(good, relearn=relearn)
    kept = 42 if relearn else 12
    eventually(lambda: all(judgements(router) == pytest.approx(kept) for router in replicas))
    teach(replicas[2], 6, first=5000)
    assert_same(replicas)
    eventually(lambda: judgements(replicas[0]) == pytest.approx(kept + 6))
    with small_router(store=open_store(), seed=9) as late:
        assert_same([*replicas, late])


@pytest.mark.usefixtures("standing_clock")
def test_a_rollback_under_traffic_and_pool_changes_leaves_all_alike(replicas: list[Router]) -> None:
    good = poisoned(replicas)
    for number in range(20):
        called(replicas[number % 3], number)
        if number == 8:
            replicas[2].add_llm(spec("newcomer", 0.5))
        if number == 10:
            replicas[0].worker.roll_back(good)
        if number == 12:
            replicas[1].remove_llm("middle")
    for router in replicas:
        router.store.flush()
    assert_same(replicas)
    assert {one.name for one in replicas[1].llms} == {"small", "large", "newcomer"}


@pytest.mark.usefixtures("standing_clock")
def test_a_merge_is_taken_over_by_all_once(replicas: list[Router], open_store: OpenStore) -> None:
    teach(replicas[0], 9)
    eventually(lambda: settled(replicas))
    with small_router(seed=5) as elsewhere:
        teach(elsewhere, 15, first=300)
        replicas[1].merge(elsewhere.learner.checkpoint())
    eventually(lambda: all(judgements(router) == pytest.approx(24) for router in replicas))
    teach(replicas[2], 3, first=700)
    assert_same(replicas)
    with small_router(store=open_store(), seed=9) as late:
        assert_same([*replicas, late])
        assert judgements(late) == pytest.approx(27)


@pytest.mark.usefixtures("standing_clock")
def test_a_checkpoint_of_one_that_had_not_followed_yet_does_not_bring_it_back(open_store: OpenStore) -> None:
    with small_router(store=open_store(), seed=1) as first, small_router(store=open_store(), seed=2) as late:
        teach(first, 12)
        first.worker.checkpoint(always=True)
        good = first.store.state_versions()[-1]
        teach(first, 30, first=1000)
        late.worker.catch_up()
        first.worker.roll_back(good)
        # It knows all events, keeps that as the newest checkpoint, and has not heard of the rollback.
        late.worker.checkpoint(always=True)
        assert judgements(late) == pytest.approx(42)
        with small_router(store=open_store(), seed=3) as started:
            assert judgements(started) == pytest.approx(12)
        late.worker.catch_up()
        assert judgements(late) == pytest.approx(12)


@pytest.mark.usefixtures("standing_clock")
def test_a_rollback_while_nothing_runs_goes_before_an_earlier_one(open_store: OpenStore) -> None:
    with small_router(store=open_store(), seed=1) as first:
        teach(first, 6)
        first.worker.checkpoint(always=True)
        oldest = first.store.state_versions()[-1]
        teach(first, 6, first=100)
        first.worker.checkpoint(always=True)
        middle = first.store.state_versions()[-1]
        teach(first, 6, first=200)
        first.worker.roll_back(middle)
    store = open_store()
    roll_back_store(store, clock=ManualClock(start_s=2e9), to=oldest)
    store.close()
    with small_router(store=open_store(), seed=2) as started:
        assert judgements(started) == pytest.approx(6)
