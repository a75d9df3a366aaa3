"""One transaction of the writer: facts, in the order in which they were appended.

Whoever writes holds the lock of the one row of ``totals`` from the first statement to the commit, and takes the next
`seq` from that row. A sequence would not do: it gives numbers when they are asked for, so that of two transactions the
one with the lower number may commit later, and a reader that has seen the higher would never see it. With the lock the
order of `seq` is the order of the commits, whoever writes, and there is no gap. Commits of different gateways wait for
each other in turn; each is a group, so that they are few.
"""

from __future__ import annotations

from collections.abc import Sequence
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

_INSERT_DECISIONS = """
INSERT INTO decisions
    (decision_id, created_at_s, llm, policy, trade_off, model_version, tokens_in, encoding, body, prompt, key_id,
     out_of_domain, in_flight)
SELECT * FROM unnest(
    %s::text[], %s::float8[], %s::text[], %s::text[], %s::float8[], %s::int8[], %s::int8[], %s::bytea[], %s::text[],
    %s::bytea[], %s::text[], %s::float8[], %s::int8[])
"""

_INSERT_EVENTS = """
INSERT INTO events
    (seq, kind, event_id, decision_id, llm, created_at_s, body, status, attempt, tokens_in, tokens_out, cost_usd,
     latency_s, feedback_kind, metric, source, value, key_id)
SELECT * FROM unnest(
    %s::int8[], %s::text[], %s::text[], %s::text[], %s::text[], %s::float8[], %s::text[], %s::text[], %s::int8[],
    %s::int8[], %s::int8[], %s::float8[], %s::float8[], %s::text[], %s::text[], %s::text[], %s::float8[], %s::text[])
"""

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
    with connection.pipeline():  # One journey to the server for all questions, and one for all that is written.
        lock = connection.execute(_LOCK)
        known_decisions = connection.execute(_KNOWN_DECISIONS, (decisions,))
        known_events = connection.execute(_KNOWN_EVENTS, (outcomes, feedback))
        last_seq = int(str(lock.fetchone()[0]))  # type: ignore[index]
        known = {
            str(decision_id): _Decided(llm=str(llm), key_id=str(key_id), answered_by=_or_none(answered_by))
            for decision_id, llm, key_id, answered_by in known_decisions.fetchall()
        }
        bodies = {(body is not None, str(event_id)): _or_none(body) for event_id, body in known_events.fetchall()}
    batch = _Batch(known=known, bodies=bodies, last_seq=last_seq)
    verdicts = [batch.add(fact) for fact in facts]
    with connection.pipeline():
        if batch.decisions:
            connection.execute(_INSERT_DECISIONS, _columns(batch.decisions))
        if batch.events:
            connection.execute(_INSERT_EVENTS, _columns(batch.events))
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


def _columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _or_none(value: object) -> str | None:
    return None if value is None else str(value)
