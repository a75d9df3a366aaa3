"""Questions to the database: what is known of a decision, and which events come next."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from mixllm.store.intake import Fact
from mixllm.store.rows import (
    decision_from_body,
    feedback_from_body,
    outcome_from_body,
    placed_change,
    pool_change_from_body,
)
from mixllm.types import (
    Decision,
    DecisionRecord,
    Feedback,
    LearnedState,
    LearningEvent,
    Outcome,
    OutcomeEvent,
    PlacedChange,
    PoolChange,
    StateInfo,
    StoredDecision,
)

__all__ = [
    "KnownDecision",
    "has_decision",
    "read_decision",
    "read_decisions",
    "read_events",
    "read_last_change",
    "read_last_seq",
    "read_placed_changes",
    "read_pool_changes",
    "read_spent_usd",
    "read_state",
    "read_states",
    "read_totals",
]

_MAX_INTEGER = 2**63 - 1
"""SQLite's largest."""


class KnownDecision:
    """What is known of one decision, gathered piece by piece; of repeated pieces the first is kept."""

    __slots__ = ("decision", "feedback", "outcomes", "prompt")

    def __init__(self) -> None:
        self.decision: Decision | None = None
        self.prompt: str | None = None
        self.outcomes: dict[int, Outcome] = {}
        self.feedback: dict[str, Feedback] = {}

    def add_decision(self, decision: Decision, prompt: str | None) -> None:
        """Add the decision itself."""
        if self.decision is None:
            self.decision = decision
            self.prompt = prompt

    def add_outcome(self, outcome: Outcome) -> None:
        """Add the facts of a call."""
        self.outcomes.setdefault(outcome.attempt, outcome)

    def add_feedback(self, feedback: Feedback) -> None:
        """Add a judgement."""
        self.feedback.setdefault(feedback.feedback_id, feedback)

    def add_events(self, rows: Iterable[tuple[str, str]]) -> None:
        """Add events, each given by its kind and its body."""
        for kind, body in rows:
            if kind == "outcome":
                self.add_outcome(outcome_from_body(body))
            else:
                self.add_feedback(feedback_from_body(body))

    def add_held(self, held: Sequence[Fact], *, known_before: bool) -> None:
        """Add what waits in a queue; where the decision waits there too, what came before it will be refused."""
        first = next((place for place, fact in enumerate(held) if isinstance(fact, DecisionRecord)), 0)
        for fact in held if known_before else held[first:]:
            if isinstance(fact, DecisionRecord):
                self.add_decision(fact.decision, fact.prompt)
            elif isinstance(fact, OutcomeEvent):
                self.add_outcome(fact.outcome)
            else:
                self.add_feedback(fact.feedback)

    def stored(self) -> StoredDecision | None:
        """Return all of it; None where the decision itself is not known."""
        if self.decision is None:
            return None
        return StoredDecision(
            decision=self.decision,
            outcomes=tuple(self.outcomes.values()),
            feedback=tuple(self.feedback.values()),
            prompt=self.prompt,
        )


def has_decision(connection: sqlite3.Connection, decision_id: str) -> bool:
    """Return whether the file knows a decision."""
    return connection.execute("SELECT 1 FROM decisions WHERE decision_id = ?", (decision_id,)).fetchone() is not None


def read_decision(connection: sqlite3.Connection, decision_id: str) -> KnownDecision:
    """Return what the file knows of a decision."""
    known = KnownDecision()
    row = connection.execute("SELECT body, prompt FROM decisions WHERE decision_id = ?", (decision_id,)).fetchone()
    if row is not None:
        known.add_decision(decision_from_body(row[0]), row[1])
        query = "SELECT kind, body FROM events WHERE decision_id = ? ORDER BY seq"
        known.add_events(connection.execute(query, (decision_id,)).fetchall())
    return known


def read_decisions(connection: sqlite3.Connection, *, limit: int, before: str | None) -> Sequence[StoredDecision]:
    """Return the newest decisions, newest first, older than the id `before` if given."""
    where, parameters = ("", ()) if before is None else ("WHERE decision_id < ?", (before,))
    rows = connection.execute(
        f"SELECT decision_id, body, prompt FROM decisions {where} ORDER BY decision_id DESC LIMIT ?",  # noqa: S608 -- both texts are constants
        (*parameters, min(limit, _MAX_INTEGER)),
    ).fetchall()
    if not rows:
        return []
    page: dict[str, KnownDecision] = {}
    for decision_id, body, prompt in rows:
        page[decision_id] = KnownDecision()
        page[decision_id].add_decision(decision_from_body(body), prompt)
    events = connection.execute(
        "SELECT decision_id, kind, body FROM events WHERE decision_id BETWEEN ? AND ? ORDER BY seq",
        (rows[-1][0], rows[0][0]),
    )
    for decision_id, kind, body in events.fetchall():
        if decision_id in page:  # A decision of that range may have come in between the two questions.
            page[decision_id].add_events([(kind, body)])
    return [stored for known in page.values() if (stored := known.stored()) is not None]


def read_events(connection: sqlite3.Connection, seq: int, *, limit: int) -> Sequence[LearningEvent]:
    """Return the events after `seq`, in order."""
    # CROSS JOIN fixes the order of the loops: along the events, each with its decision.
    rows = connection.execute(
        """
        SELECT e.seq, e.decision_id, e.llm, d.encoding, d.tokens_in, e.kind, e.body, e.created_at_s, e.key_id,
            CASE WHEN json_valid(d.body) THEN json_extract(d.body, '$.out_of_domain') END,
            CASE WHEN json_valid(d.body) THEN json_extract(d.body, '$.in_flight') END
        FROM events AS e CROSS JOIN decisions AS d ON d.decision_id = e.decision_id
        WHERE e.seq > ? ORDER BY e.seq LIMIT ?
        """,
        (min(seq, _MAX_INTEGER), min(limit, _MAX_INTEGER)),
    ).fetchall()
    return [
        LearningEvent(
            seq=event_seq,
            decision_id=decision_id,
            llm=llm,
            encoding=encoding,
            tokens_in=tokens_in,
            outcome=outcome_from_body(body) if kind == "outcome" else None,
            feedback=feedback_from_body(body) if kind == "feedback" else None,
            created_at_s=created_at_s or 0.0,
            key_id=key_id,
            out_of_domain=float(outside) if isinstance(outside, int | float) else 0.0,
            in_flight=in_flight if isinstance(in_flight, int) else 0,
        )
        for (
            event_seq,
            decision_id,
            llm,
            encoding,
            tokens_in,
            kind,
            body,
            created_at_s,
            key_id,
            outside,
            in_flight,
        ) in rows
    ]


def read_last_seq(connection: sqlite3.Connection) -> int:
    """Return the `seq` of the newest event; 0 where there is none."""
    (seq,) = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
    return int(seq)


def read_spent_usd(connection: sqlite3.Connection, *, since_s: float, until_seq: int | None) -> dict[str, float]:
    """Return what the events since `since_s`, up to `until_seq` if given, have cost, by key."""
    # cost_usd > 0, literally: only then may SQLite use the index, which leaves out events without a cost.
    rows = connection.execute(
        """
        SELECT key_id, sum(cost_usd) FROM events
        WHERE created_at_s >= ? AND cost_usd > 0 AND seq <= ? GROUP BY key_id
        """,
        (since_s, _MAX_INTEGER if until_seq is None else min(until_seq, _MAX_INTEGER)),
    )
    return dict(rows.fetchall())


def read_pool_changes(connection: sqlite3.Connection) -> Sequence[PoolChange]:
    """Return the newest change of each LLM, oldest first."""
    query = "SELECT body FROM pool_changes WHERE seq IN (SELECT max(seq) FROM pool_changes GROUP BY llm) ORDER BY seq"
    return [pool_change_from_body(body) for (body,) in connection.execute(query).fetchall()]


def read_placed_changes(connection: sqlite3.Connection, number: int, *, limit: int) -> Sequence[PlacedChange]:
    """Return the changes after `number`, of the pool and of what is known, in order."""
    query = """
    SELECT seq AS number, after_seq, body, NULL, NULL FROM pool_changes WHERE seq > ?1
    UNION ALL
    SELECT number, after_seq, NULL, version, created_at_s FROM state_changes WHERE number > ?1
    ORDER BY number LIMIT ?2
    """
    rows = connection.execute(query, (min(number, _MAX_INTEGER), min(limit, _MAX_INTEGER))).fetchall()
    return [placed_change(*row) for row in rows]


def read_last_change(connection: sqlite3.Connection) -> int:
    """Return the number of the newest change of the pool, or of what is known; 0 where there is none."""
    (number,) = connection.execute(
        """
        SELECT coalesce(max(number), 0) FROM (
            SELECT max(seq) AS number FROM pool_changes UNION ALL SELECT max(number) FROM state_changes
        )
        """
    ).fetchone()
    return int(number)


def read_state(connection: sqlite3.Connection, version: int | None) -> LearnedState | None:
    """Return the checkpoint of `version`, or the one that was saved last and is not quarantined."""
    if version is not None and version > _MAX_INTEGER:
        return None
    where, parameters = ("quarantined IS NULL", ()) if version is None else ("version = ?", (version,))
    row = connection.execute(
        f"SELECT version, position, created_at_s, payload FROM states WHERE {where} ORDER BY seq DESC LIMIT 1",  # noqa: S608 -- both texts are constants
        parameters,
    ).fetchone()
    if row is None:
        return None
    return LearnedState(version=row[0], position=row[1], created_at_s=row[2], payload=row[3])


def read_states(connection: sqlite3.Connection) -> Sequence[StateInfo]:
    """Return what is known of every kept checkpoint, oldest first."""
    query = "SELECT version, position, created_at_s, length(payload), quarantined FROM states ORDER BY seq"
    return [
        StateInfo(version=version, position=position, created_at_s=at_s, size_bytes=size, quarantined=reason)
        for version, position, at_s, size, reason in connection.execute(query).fetchall()
    ]


def read_totals(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many decisions, outcomes and feedback the file holds."""
    row = connection.execute("SELECT decisions, outcomes, feedback FROM totals").fetchone()
    return dict(zip(("decisions", "outcomes", "feedback"), row, strict=True))
