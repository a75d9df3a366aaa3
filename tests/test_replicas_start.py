"""A gateway's router starts while the database is away: it routes, records, and ends with what all others know."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.postgres_server import Server, running_server
from tests.small_router import SPECS, assert_alike, called, expectations, question, small_router, spec

from mixllm import Outcome, Price, Query, Router
from mixllm.config import TagsConfig
from mixllm.decision import Period
from mixllm.errors import BudgetExhaustedError, StateError, StoreError
from mixllm.router import BudgetLimits
from mixllm.store import PostgresStore

PATIENCE_S = 20.0

OpenStore = Callable[..., PostgresStore]


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def open_store(own_server: Server, tmp_path: Path) -> Iterator[OpenStore]:
    schema = own_server.schema()
    opened: list[PostgresStore] = []

    def open_(**given: object) -> PostgresStore:
        given = {"schema": schema, "spool": tmp_path / "spool", "connect_patience_s": 0.5, **given}
        opened.append(PostgresStore(url=own_server.url, **given))  # type: ignore[arg-type]
        return opened[-1]

    yield open_
    own_server.start()
    for store in opened:
        store.close()


def eventually(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never happens"
        time.sleep(0.01)


def killed(router: Router) -> None:
    """Have a router stop as a killed process does: nothing is learned, kept or shipped any more."""
    router.worker._stop.set()
    router.worker.checkpoint = lambda **_: None  # type: ignore[method-assign]
    router.worker.catch_up = lambda: 0  # type: ignore[method-assign]
    router.close()


def traffic(router: Router, count: int) -> None:
    for number in range(count):
        decision = called(router, number)
        router.feedback(decision.decision_id, quality=number % 5 / 4)


def asked(router: Router, key_id: str, *, cost_usd: float) -> None:
    decision = router.route(Query(text=question(1), key_id=key_id))
    router.record(decision.decision_id, Outcome(tokens_in=50, tokens_out=20, latency_s=1.0, cost_usd=cost_usd))


def caught_up(router: Router) -> bool:
    store = router.store
    if store.health().problem is not None or store.health().spooled:
        return False
    return router.snapshot.position == store.last_seq()


@pytest.mark.usefixtures("standing_clock")
def test_a_router_that_starts_without_the_database_catches_up_and_counts_everything_once(
    own_server: Server, open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    # Another replica, on another machine, goes on all the time.
    other = small_router(store=open_store(spool=None), seed=1)
    other.worker.start()
    first = small_router(store=open_store())
    first.worker.start()
    traffic(first, 20)
    first.add_llm(spec("newcomer", 0.5))
    first.set_price("large", Price(usd_per_million_tokens_in=2.0, usd_per_million_tokens_out=2.0))
    first.remove_llm("middle")
    first.learn()
    eventually(lambda: first.worker.starts._kept[0] == 3)
    known = first.snapshot.position
    killed(first)
    # Events and a change of the pool that the copy does not have.
    traffic(other, 5)
    other.learn()
    other.add_llm(spec("later", 0.7))
    own_server.stop()
    eventually(lambda: other.store.health().problem is not None)
    with small_router(store=open_store(), seed=3) as router:
        assert "starts from the local copy" in caplog.text
        assert {one.name for one in router.llms} == {"small", "large", "newcomer"}
        assert next(one for one in router.llms if one.name == "large").price == first.llm("large").price
        assert 0 < router.snapshot.position <= known
        assert router.store.health().problem is not None
        router.worker.start()
        traffic(router, 10)
        router.store.flush()
        assert router.store.health().spooled >= 20
        own_server.start()
        eventually(lambda: caught_up(router) and caught_up(other))
        assert {one.name for one in router.llms} == {"small", "large", "newcomer", "later"}
        assert router.snapshot.position == other.snapshot.position == router.store.last_seq()
        assert_alike(expectations(router), expectations(other))
        assert router.store.counts() == {"decisions": 35, "outcomes": 35, "feedback": 35, "dropped": 0}
    other.close()


def test_a_start_without_database_and_copy_is_refused_with_a_clear_error(
    own_server: Server, open_store: OpenStore, tmp_path: Path
) -> None:
    small_router(store=open_store()).close()
    own_server.stop()
    with pytest.raises(StoreError, match=r"cannot be reached.*needs the local copy that a gateway keeps"):
        open_store(spool=tmp_path / "a new disk")
    with pytest.raises(StoreError, match="needs the local copy"):
        open_store(spool=None)
    (copy,) = (tmp_path / "spool").glob("*.start")
    copy.write_bytes(b"damaged")
    with pytest.raises(StoreError, match="none that can be used"):
        open_store()


def test_a_copy_that_does_not_fit_the_configuration_is_refused(own_server: Server, open_store: OpenStore) -> None:
    small_router(store=open_store()).close()
    own_server.stop()
    store = open_store()
    with pytest.raises(StateError, match=r"store is away.*learned on features"):
        Router(llms=SPECS, tags=TagsConfig(projection_dimension=4), store=store)


def test_a_budget_goes_on_from_the_copy(own_server: Server, open_store: OpenStore) -> None:
    limits = BudgetLimits(period=Period(seconds=10_000_000), each_key_usd=1.0)
    with small_router(store=open_store(), budget=limits) as first:
        asked(first, "key-rich", cost_usd=5.0)
        first.learn()
        first.worker.keep_start()
    own_server.stop()
    with small_router(store=open_store(), budget=limits) as router:
        assert router.budget is not None
        assert router.budget.status().spent_usd == pytest.approx(5.0)
        with pytest.raises(BudgetExhaustedError):
            asked(router, "key-rich", cost_usd=0.1)
        asked(router, "key-poor", cost_usd=0.5)
        own_server.start()
        router.worker.start()
        eventually(lambda: caught_up(router))
        spent = router.store.spent_usd(since_s=0.0)
        assert router.budget.status().spent_usd == pytest.approx(sum(spent.values())), "nothing is charged twice"


def test_another_database_in_the_place_of_the_one_that_was_learned_from_is_not_used(
    own_server: Server, open_store: OpenStore
) -> None:
    store = open_store()
    first = small_router(store=store)
    traffic(first, 3)
    first.close()
    with psycopg.connect(own_server.url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {store._database.schema} CASCADE")
    own_server.stop()
    router = small_router(store=open_store())
    traffic(router, 2)
    own_server.start()
    eventually(lambda: "another log" in str(router.store.health().problem))
    assert router.store.health().spooled > 0, "nothing of this log is written into that one"
    with pytest.raises(StoreError):
        router.close()
