"""One transaction of the writer: facts, in the order in which they were appended.

Whoever writes holds the lock of the one row of ``totals`` from the first statement to the commit, and takes the next
`seq` from that row. A sequence would not do: it gives numbers when they are asked for, so that of two transactions the
one with the lower number may commit later, and a reader that has seen the higher would never see it. With the lock the
order of `seq` is the order of the commits, whoever writes, and there is no gap. Commits of different gateways wait for
each other in turn; each is a group, so that they are few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from mixllm.store.postgres.database import Connection
from mixllm.store.postgres.facts import DecisionFact, FeedbackFact, OutcomeFact, WrittenFact
from mixllm.store.rows import feedback_from_body, same_judgement

__all__ = ["NOTIFY", "Verdict", "Written", "lock_totals", "write_facts"]

_LOCK = "SELECT last_seq, last_change FROM totals FOR UPDATE"

# The LLM that answered is looked up here, once, so that an event reads the same for ever.
_KNOWN_DECISIONS = """
SELECT d.decision_id, d.llm, d.key_id,
    (SELECT e.llm FROM events AS e WHERE e.decision_id = d.decision_id AND e.status = 'ok' ORDER BY e.seq DESC LIMIT 1)
FROM decisions AS d WHERE d.decision_id = ANY(%s::text[])
"""

_KNOWN_EVENTS = """
SELECT event_id, NULL FROM events WHERE kind = 'outcome' AND event_id = ANY(%s::text[])
UNION ALL
SELECT event_id, body FROM events WHERE kind = 'feedback' AND event_id = ANY(%s::text[])
"""

# The columns that are written, each with its type, in the order of the rows below.
_DECISIONS = {
    "decision_id": "text",
    "created_at_s": "float8",
    "llm": "text",
    "policy": "text",
    "trade_off": "float8",
    "model_version": "int8",
    "tokens_in": "int8",
    "encoding": "bytea",
    "body": "text",
    "prompt": "bytea",
    "key_id": "text",
    "out_of_domain": "float8",
    "in_flight": "int8",
}
_EVENTS = {
    "seq": "int8",
    "kind": "text",
    "event_id": "text",
    "decision_id": "text",
    "llm": "text",
    "created_at_s": "float8",
    "body": "text",
    "status": "text",
    "attempt": "int8",
    "tokens_in": "int8",
    "tokens_out": "int8",
    "cost_usd": "float8",
    "latency_s": "float8",
    "feedback_kind": "text",
    "metric": "text",
    "source": "text",
    "value": "float8",
    "key_id": "text",
}

NOTIFY = "SELECT pg_notify(%s, '')"
"""Wakes everyone who listens, at the commit."""

_ADD_TOTALS = """
UPDATE totals SET decisions = decisions + %s, outcomes = outcomes + %s, feedback = feedback + %s, last_seq = %s
"""


class Verdict(Enum):
    """What became of a fact."""

    NEW = "new"
    REPEATED = "repeated"
    UNKNOWN = "of an unknown decision"
    REFUSED = "not to be kept"
    CONFLICT = "another judgement has its id"


@dataclass(slots=True, kw_only=True)
class Written:
    """What a transaction has done.

    Parameters
    ----------
    verdicts
        What became of each fact, in order.
    last_seq
        `seq` of the newest event of the database.
    """

    verdicts: list[Verdict] = field(default_factory=list)
    last_seq: int = 0


@dataclass(slots=True, kw_only=True)
class _Decided:
    """What an event takes from its decision."""

    llm: str
    key_id: str
    answered_by: str | None = None


def lock_totals(connection: Connection) -> tuple[int, int]:
    """Wait for the turn to write, until the end of the transaction; return the newest `seq` and change of the pool."""
    row = connection.execute(_LOCK).fetchone()
    assert row is not None
    return int(str(row[0])), int(str(row[1]))


def write_facts(connection: Connection, facts: Sequence[WrittenFact], *, channel: str) -> Written:
    """Write `facts` in one transaction, and notify `channel`.

    Parameters
    ----------
    connection
        Not in autocommit mode; its transaction is over when this returns, and to be rolled back when it raises.
    facts
        In order; those that are known already are left out.
    channel
        Whoever listens there is woken.

    Raises
    ------
    psycopg.Error
        Where they cannot be written now; nothing of them is there then, or, where the connection was lost while the
        commit was under way, perhaps all of it. Writing them again is safe either way.
    """
    decisions = list({fact.decision_id: None for fact in facts})
    outcomes = [fact.event_id for fact in facts if isinstance(fact, OutcomeFact)]
    feedback = [fact.event_id for fact in facts if isinstance(fact, FeedbackFact)]
    # Statement by statement, and not as psycopg's pipeline: with rows this large, that was seen to wait for the server
    # while the server waited for the rest of them.
    last_seq, _ = lock_totals(connection)
    known = {
        str(decision_id): _Decided(llm=str(llm), key_id=str(key_id), answered_by=_or_none(answered_by))
        for decision_id, llm, key_id, answered_by in connection.execute(_KNOWN_DECISIONS, (decisions,)).fetchall()
    }
    events = connection.execute(_KNOWN_EVENTS, (outcomes, feedback)).fetchall()
    bodies = {(body is not None, str(event_id)): _or_none(body) for event_id, body in events}
    batch = _Batch(known=known, bodies=bodies, last_seq=last_seq)
    verdicts = [batch.add(fact) for fact in facts]
    if batch.decisions:
        _copy(connection, "decisions", _DECISIONS, batch.decisions)
    if batch.events:
        _copy(connection, "events", _EVENTS, batch.events)
        connection.execute(NOTIFY, (channel,))
    if batch.decisions or batch.events:
        connection.execute(_ADD_TOTALS, (len(batch.decisions), batch.outcomes, batch.feedback, batch.last_seq))
    connection.commit()
    return Written(verdicts=verdicts, last_seq=batch.last_seq)


class _Batch:
    """Goes through facts in order, knowing what the database knows, and gathers the rows to add to it."""

    def __init__(
        self, *, known: dict[str, _Decided], bodies: dict[tuple[bool, str], str | None], last_seq: int
    ) -> None:
        self._known = known
        self._bodies = bodies
        self.last_seq = last_seq
        self.decisions: list[tuple[object, ...]] = []
        self.events: list[tuple[object, ...]] = []
        self.outcomes = self.feedback = 0

    def add(self, fact: WrittenFact) -> Verdict:
        if isinstance(fact, DecisionFact):
            return self._add_decision(fact)
        is_feedback = isinstance(fact, FeedbackFact)
        if (is_feedback, fact.event_id) in self._bodies:
            return self._known_event(fact)
        decided = self._known.get(fact.decision_id)
        if decided is None:
            return Verdict.UNKNOWN
        self._bodies[is_feedback, fact.event_id] = fact.body if is_feedback else None
        self.last_seq += 1
        if isinstance(fact, OutcomeFact):
            self.events.append(self._outcome(fact, decided))
        else:
            self.events.append(self._judgement(fact, decided))
        return Verdict.NEW

    def _add_decision(self, fact: DecisionFact) -> Verdict:
        if fact.decision_id in self._known:
            return Verdict.REPEATED
        self._known[fact.decision_id] = _Decided(llm=fact.llm, key_id=fact.key_id)
        # In the order of the columns, which is that of the fields.
        self.decisions.append(tuple(getattr(fact, name) for name in DecisionFact.__struct_fields__))
        return Verdict.NEW

    def _known_event(self, fact: OutcomeFact | FeedbackFact) -> Verdict:
        if isinstance(fact, OutcomeFact):
            return Verdict.REPEATED
        known = self._bodies[True, fact.event_id]
        assert known is not None, "a feedback has a body"
        same = same_judgement(feedback_from_body(known), feedback_from_body(fact.body))
        return Verdict.REPEATED if same else Verdict.CONFLICT

    def _outcome(self, fact: OutcomeFact, decided: _Decided) -> tuple[object, ...]:
        self.outcomes += 1
        llm = decided.llm if fact.llm is None else fact.llm
        if fact.status == "ok":
            decided.answered_by = llm
        measured = (fact.status, fact.attempt, fact.tokens_in, fact.tokens_out, fact.cost_usd, fact.latency_s)
        about = (self.last_seq, "outcome", fact.event_id, fact.decision_id, llm, fact.created_at_s, fact.body)
        return (*about, *measured, None, None, None, None, decided.key_id)

    def _judgement(self, fact: FeedbackFact, decided: _Decided) -> tuple[object, ...]:
        self.feedback += 1
        llm = decided.answered_by or decided.llm
        about = (self.last_seq, "feedback", fact.event_id, fact.decision_id, llm, fact.created_at_s, fact.body)
        said = (fact.feedback_kind, fact.metric, fact.source, fact.value)
        return (*about, None, None, None, None, fact.cost_usd, None, *said, decided.key_id)


def _copy(connection: Connection, table: str, columns: Mapping[str, str], rows: Sequence[tuple[object, ...]]) -> None:
    """Add `rows`; the quickest way there is, and the rows are known to be new."""
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        copy.set_types(list(columns.values()))
        for row in rows:
            copy.write_row(row)


def _or_none(value: object) -> str | None:
    return None if value is None else str(value)
