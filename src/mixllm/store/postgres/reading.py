"""Questions to the database: what is known of a decision, and which events come next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixllm.store.postgres.database import Connection
from mixllm.store.reading import KnownDecision
from mixllm.store.rows import (
    decision_from_body,
    feedback_from_body,
    outcome_from_body,
    placed_change,
    pool_change_from_body,
)
from mixllm.types import LearnedState, LearningEvent, PlacedChange, PoolChange, StateInfo, StoredDecision

__all__ = [
    "has_decision",
    "read_decision",
    "read_decisions",
    "read_ends",
    "read_events",
    "read_log_id",
    "read_placed_changes",
    "read_pool_changes",
    "read_spent_usd",
    "read_state",
    "read_states",
    "read_totals",
]

_MAX_INTEGER = 2**63 - 1


def has_decision(connection: Connection, decision_id: str) -> bool:
    """Return whether the database knows a decision."""
    query = "SELECT 1 FROM decisions WHERE decision_id = %s"
    return connection.execute(query, (decision_id,)).fetchone() is not None


def read_decision(connection: Connection, decision_id: str) -> KnownDecision:
    """Return what the database knows of a decision."""
    known = KnownDecision()
    rows = _rows(connection, "SELECT body, prompt FROM decisions WHERE decision_id = %s", (decision_id,))
    if rows:
        known.add_decision(decision_from_body(rows[0][0]), _prompt(rows[0][1]))
        query = "SELECT kind, body FROM events WHERE decision_id = %s ORDER BY seq"
        known.add_events(_rows(connection, query, (decision_id,)))
    return known


def read_decisions(connection: Connection, *, limit: int, before: str | None) -> Sequence[StoredDecision]:
    """Return the newest decisions, newest first, older than the id `before` if given."""
    where, parameters = ("", ()) if before is None else ("WHERE decision_id < %s", (before,))
    rows = _rows(
        connection,
        f"SELECT decision_id, body, prompt FROM decisions {where} ORDER BY decision_id DESC LIMIT %s",  # noqa: S608 -- both texts are constants
        (*parameters, min(limit, _MAX_INTEGER)),
    )
    page: dict[str, KnownDecision] = {}
    for decision_id, body, prompt in rows:
        page[decision_id] = KnownDecision()
        page[decision_id].add_decision(decision_from_body(body), _prompt(prompt))
    query = "SELECT decision_id, kind, body FROM events WHERE decision_id = ANY(%s::text[]) ORDER BY seq"
    for decision_id, kind, body in _rows(connection, query, (list(page),)) if page else ():
        page[decision_id].add_events([(kind, body)])
    return [stored for known in page.values() if (stored := known.stored()) is not None]


def read_events(connection: Connection, seq: int, *, limit: int) -> Sequence[LearningEvent]:
    """Return the events after `seq`, in order."""
    rows = _rows(
        connection,
        """
        SELECT e.seq, e.decision_id, e.llm, d.encoding, d.tokens_in, e.kind, e.body, e.created_at_s, e.key_id,
            d.out_of_domain, d.in_flight
        FROM events AS e JOIN decisions AS d ON d.decision_id = e.decision_id
        WHERE e.seq > %s ORDER BY e.seq LIMIT %s
        """,
        (min(seq, _MAX_INTEGER), min(limit, _MAX_INTEGER)),
    )
    return [
        LearningEvent(
            seq=row[0],
            decision_id=row[1],
            llm=row[2],
            encoding=row[3],
            tokens_in=row[4],
            outcome=outcome_from_body(row[6]) if row[5] == "outcome" else None,
            feedback=feedback_from_body(row[6]) if row[5] == "feedback" else None,
            created_at_s=row[7] or 0.0,
            key_id=row[8],
            out_of_domain=row[9],
            in_flight=row[10],
        )
        for row in rows
    ]


def read_ends(connection: Connection) -> tuple[int, int]:
    """Return the `seq` of the newest event and the number of the newest change; 0 where there is none."""
    ((seq, number),) = _rows(connection, "SELECT last_seq, last_change FROM totals")
    return int(seq), int(number)


def read_log_id(connection: Connection) -> str:
    """Return which log of events this is: another database, also of the same name, has another."""
    ((log_id,),) = _rows(connection, "SELECT log_id FROM totals")
    return str(log_id)


def read_spent_usd(connection: Connection, *, since_s: float, until_seq: int | None) -> dict[str, float]:
    """Return what the events since `since_s`, up to `until_seq` if given, have cost, by key."""
    rows = _rows(
        connection,
        """
        SELECT key_id, sum(cost_usd) FROM events
        WHERE created_at_s >= %s AND cost_usd > 0 AND seq <= %s GROUP BY key_id
        """,
        (since_s, _MAX_INTEGER if until_seq is None else min(until_seq, _MAX_INTEGER)),
    )
    return dict(rows)


def read_pool_changes(connection: Connection) -> Sequence[PoolChange]:
    """Return the newest change of each LLM, oldest first."""
    query = "SELECT body FROM pool_changes WHERE number IN (SELECT max(number) FROM pool_changes GROUP BY llm)"
    return [pool_change_from_body(body) for (body,) in _rows(connection, f"{query} ORDER BY number")]


def read_placed_changes(connection: Connection, number: int, *, limit: int) -> Sequence[PlacedChange]:
    """Return the changes after `number`, of the pool and of what is known, in order."""
    query = """
    SELECT number, after_seq, body, NULL AS version, NULL AS created_at_s FROM pool_changes WHERE number > %s
    UNION ALL
    SELECT number, after_seq, NULL, version, created_at_s FROM state_changes WHERE number > %s
    ORDER BY number LIMIT %s
    """
    after = min(number, _MAX_INTEGER)
    return [placed_change(*row) for row in _rows(connection, query, (after, after, min(limit, _MAX_INTEGER)))]


def read_state(connection: Connection, version: int | None) -> LearnedState | None:
    """Return the checkpoint of `version`, or the one that was saved last and is not quarantined."""
    if version is not None and not -_MAX_INTEGER <= version <= _MAX_INTEGER:
        return None
    where, parameters = ("quarantined IS NULL", ()) if version is None else ("version = %s", (version,))
    rows = _rows(
        connection,
        f"SELECT version, position, created_at_s, payload FROM states WHERE {where} ORDER BY number DESC LIMIT 1",  # noqa: S608 -- both texts are constants
        parameters,
    )
    if not rows:
        return None
    return LearnedState(version=rows[0][0], position=rows[0][1], created_at_s=rows[0][2], payload=rows[0][3])


def read_states(connection: Connection) -> Sequence[StateInfo]:
    """Return what is known of every kept checkpoint, oldest first."""
    query = "SELECT version, position, created_at_s, length(payload), quarantined FROM states ORDER BY number"
    return [
        StateInfo(version=version, position=position, created_at_s=at_s, size_bytes=size, quarantined=reason)
        for version, position, at_s, size, reason in _rows(connection, query)
    ]


def read_totals(connection: Connection) -> dict[str, int]:
    """Return how many decisions, outcomes and feedback the database holds."""
    (row,) = _rows(connection, "SELECT decisions, outcomes, feedback FROM totals")
    return dict(zip(("decisions", "outcomes", "feedback"), row, strict=True))


def _rows(connection: Connection, query: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode(), parameters).fetchall()


def _prompt(prompt: bytes | None) -> str | None:
    return None if prompt is None else bytes(prompt).decode()
