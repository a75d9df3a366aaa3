"""All stores pass the conformance suite, which in turn notices stores that do not keep the contract."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

import msgspec
import pytest
from tests.postgres_server import Server

from mixllm.conformance.store import check_persistence, check_store
from mixllm.errors import ConflictingEventError, UnknownDecisionError
from mixllm.interfaces import Store
from mixllm.store import MemoryStore, PostgresStore, SQLiteStore
from mixllm.types import DecisionRecord, Feedback, FeedbackReceipt, LearningEvent, OutcomeEvent, StoredDecision


def test_memory_store_keeps_the_contract() -> None:
    stores: list[MemoryStore] = []

    def make() -> Store:
        stores.append(MemoryStore())
        return stores[-1]

    check_store(make)
    assert len(stores) > 10


def test_memory_store_keeps_the_contract_with_other_parameters() -> None:
    stores: list[MemoryStore] = []

    def make() -> Store:
        stores.append(MemoryStore(max_decisions=300, keep_states=2))
        return stores[-1]

    check_store(make)
    assert len(stores) > 10


def test_sqlite_store_keeps_the_contract(tmp_path: Path) -> None:
    numbers = itertools.count()
    check_store(lambda: SQLiteStore(path=tmp_path / f"{next(numbers)}.db"))
    assert next(numbers) > 10


@pytest.mark.parametrize(("max_commit_delay_s", "max_batch"), [(0.0, 1), (0.001, 3), (0.03, 10_000)])
def test_sqlite_store_keeps_the_contract_with_other_parameters(
    tmp_path: Path, max_commit_delay_s: float, max_batch: int
) -> None:
    numbers = itertools.count()

    def make() -> Store:
        return SQLiteStore(
            path=str(tmp_path / f"{next(numbers)}.db"),
            max_commit_delay_s=max_commit_delay_s,
            max_batch=max_batch,
            max_queue=1_000,
            max_queue_bytes=1_000_000,
            busy_timeout_s=1.0,
            keep_states=2,
        )

    check_store(make)
    assert next(numbers) > 10


@pytest.mark.parametrize("max_batch", [1, 512])
def test_sqlite_store_persists(tmp_path: Path, max_batch: int) -> None:
    check_persistence(lambda: SQLiteStore(path=tmp_path / "mixllm.db", max_batch=max_batch))
    assert (tmp_path / "mixllm.db").stat().st_size > 0
    assert not (tmp_path / "mixllm.db-wal").exists(), "a closed store is one file"


def test_postgres_store_keeps_the_contract(postgres: Server) -> None:
    stores: list[PostgresStore] = []

    def make() -> Store:
        stores.append(PostgresStore(url=postgres.url, schema=postgres.schema()))
        return stores[-1]

    check_store(make)
    assert len(stores) > 10


@pytest.mark.parametrize(("max_commit_delay_s", "max_batch"), [(0.0, 1), (0.03, 10_000)])
def test_postgres_store_keeps_the_contract_with_other_parameters(
    postgres: Server, tmp_path: Path, max_commit_delay_s: float, max_batch: int
) -> None:
    stores: list[PostgresStore] = []

    def make() -> Store:
        store = PostgresStore(
            url=postgres.url,
            schema=postgres.schema(),
            spool=tmp_path / "spool",
            max_spool_bytes=1_000_000,
            max_commit_delay_s=max_commit_delay_s,
            max_batch=max_batch,
            max_queue=1_000,
            max_queue_bytes=1_000_000,
            max_connections=2,
            connect_patience_s=1.0,
            keep_states=2,
        )
        stores.append(store)
        return store

    check_store(make)
    assert len(stores) > 10
    assert not list(tmp_path.rglob("*.spool")), "nothing had to be spooled"


@pytest.mark.parametrize("max_batch", [1, 512])
def test_postgres_store_persists(postgres: Server, max_batch: int) -> None:
    schema = postgres.schema()
    check_persistence(lambda: PostgresStore(url=postgres.url, schema=schema, max_batch=max_batch))


class LearnsTwice(MemoryStore):
    """A repeated feedback is a new event."""

    def append_feedback(self, feedback: Feedback) -> Future[FeedbackReceipt]:
        future = super().append_feedback(feedback)
        if future.exception() is None and future.result().duplicate:
            super().append_feedback(msgspec.structs.replace(feedback, feedback_id=feedback.feedback_id + "'"))
        return future


class Overwrites(MemoryStore):
    """A conflict passes for a duplicate."""

    def append_feedback(self, feedback: Feedback) -> Future[FeedbackReceipt]:
        future = super().append_feedback(feedback)
        if isinstance(future.exception(), ConflictingEventError):
            future = Future()
            future.set_result(FeedbackReceipt(feedback_id=feedback.feedback_id, duplicate=True))
        return future


class BlamesTheChosen(MemoryStore):
    """Events carry the decision's LLM, whoever answered."""

    def events_after(self, seq: int, *, limit: int = 512) -> Sequence[LearningEvent]:
        return [
            msgspec.structs.replace(event, llm=self.decision(event.decision_id).decision.llm)
            for event in super().events_after(seq, limit=limit)
        ]


class OffByOne(MemoryStore):
    """The tail begins with the event that was seen last."""

    def events_after(self, seq: int, *, limit: int = 512) -> Sequence[LearningEvent]:
        return super().events_after(max(0, seq - 1), limit=limit)


class KeepsPrompts(MemoryStore):
    """Prompts are stored although nobody asked for it."""

    def append_decision(self, record: DecisionRecord) -> None:
        super().append_decision(msgspec.structs.replace(record, prompt=record.prompt or "secret"))


class LosesLateOutcomes(MemoryStore):
    """Only the first attempt is kept."""

    def append_outcome(self, event: OutcomeEvent) -> None:
        if event.outcome.attempt == 0:
            super().append_outcome(event)


class OldestFirst(MemoryStore):
    """Decisions come in the wrong order."""

    def decisions(self, *, limit: int = 100, before: str | None = None) -> Sequence[StoredDecision]:
        return list(reversed(super().decisions(limit=limit, before=before)))


class NeverCloses(MemoryStore):
    """A closed store goes on."""

    def close(self) -> None:
        self._tail.close()


class CountsNothing(MemoryStore):
    """Drops are not counted."""

    def counts(self) -> dict[str, int]:
        return {**super().counts(), "dropped": 0}


class ChargesTheSender(MemoryStore):
    """A judgement is charged to the key that sent it."""

    def spent_usd(self, *, since_s: float, until_seq: int | None = None) -> Mapping[str, float]:
        spent = dict(super().spent_usd(since_s=since_s, until_seq=until_seq))
        return {"judge" if key == "key-theirs" else key: usd for key, usd in spent.items()}


class ForgetsWhen(MemoryStore):
    """What was spent before the period counts as well."""

    def spent_usd(self, *, since_s: float, until_seq: int | None = None) -> Mapping[str, float]:
        return super().spent_usd(since_s=since_s * 0.0, until_seq=until_seq)


FAULTY: tuple[Callable[[], Store], ...] = (
    LearnsTwice,
    Overwrites,
    BlamesTheChosen,
    OffByOne,
    KeepsPrompts,
    LosesLateOutcomes,
    OldestFirst,
    NeverCloses,
    CountsNothing,
    ChargesTheSender,
    ForgetsWhen,
)


@pytest.mark.parametrize("make", FAULTY)
def test_suite_notices_a_faulty_store(make: Callable[[], Store]) -> None:
    with pytest.raises(AssertionError):
        check_store(make)


def test_suite_notices_a_store_that_forgets() -> None:
    with pytest.raises(UnknownDecisionError):
        check_persistence(MemoryStore)
