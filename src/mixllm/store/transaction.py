"""One transaction of the writer: a batch of items, in the order in which they were appended."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mixllm.errors import ConflictingEventError, StoreError, UnknownDecisionError
from mixllm.store.intake import Awaited, Command, Fact, Item, QueuedFeedback
from mixllm.store.rows import (
    ENCODING_FAULTS,
    decision_row,
    feedback_from_body,
    feedback_row,
    outcome_row,
    same_judgement,
)
from mixllm.types import DecisionRecord, FeedbackReceipt, OutcomeEvent

__all__ = ["Written", "write_batch"]

_LOG = logging.getLogger("mixllm.store")

_INSERT_DECISION = """
INSERT INTO decisions
    (decision_id, created_at_s, llm, policy, trade_off, model_version, tokens_in, encoding, body, prompt, key_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (decision_id) DO NOTHING
"""

_INSERT_OUTCOME = """
INSERT INTO events
    (kind, event_id, llm, created_at_s, body, status, attempt, tokens_in, tokens_out, cost_usd, latency_s, decision_id,
     key_id)
SELECT 'outcome', ?, coalesce(?, llm), ?, ?, ?, ?, ?, ?, ?, ?, decision_id, key_id
FROM decisions WHERE decision_id = ?
ON CONFLICT (kind, event_id) DO NOTHING
"""

_TOGETHER = 16
"""Rows of one statement where many decisions or outcomes come at once: each statement is a wait for other threads."""

_ROWS = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * _TOGETHER)

_INSERT_DECISIONS = _INSERT_DECISION.replace("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _ROWS)

# CROSS JOIN fixes the order of the loops: along the outcomes, which so get their seq in their order.
_INSERT_OUTCOMES = f"""
INSERT INTO events
    (kind, event_id, llm, created_at_s, body, status, attempt, tokens_in, tokens_out, cost_usd, latency_s, decision_id,
     key_id)
SELECT 'outcome', o.column1, coalesce(o.column2, d.llm), o.column3, o.column4, o.column5, o.column6, o.column7,
    o.column8, o.column9, o.column10, d.decision_id, d.key_id
FROM (VALUES {_ROWS}) AS o CROSS JOIN decisions AS d ON d.decision_id = o.column11
WHERE true
ON CONFLICT (kind, event_id) DO NOTHING
"""  # noqa: S608 -- question marks alone

# The LLM that answered is looked up here, once, so that an event reads the same for ever.
_INSERT_FEEDBACK = """
INSERT INTO events
    (kind, event_id, created_at_s, body, feedback_kind, metric, source, value, cost_usd, llm, decision_id, key_id)
SELECT 'feedback', ?, ?, ?, ?, ?, ?, ?, ?,
    coalesce(
        (SELECT answered.llm FROM events AS answered
         WHERE answered.decision_id = decisions.decision_id AND answered.status = 'ok'
         ORDER BY answered.seq DESC LIMIT 1),
        llm),
    decision_id,
    key_id
FROM decisions WHERE decision_id = ?
ON CONFLICT (kind, event_id) DO NOTHING
"""

_FEEDBACK_BODY = "SELECT body FROM events WHERE kind = 'feedback' AND event_id = ?"

_ADD_TOTALS = "UPDATE totals SET decisions = decisions + ?, outcomes = outcomes + ?, feedback = feedback + ?"

# These say that one item cannot be kept; SQLite's other errors concern the file, and so the whole batch.
_ITEM_FAULTS = (
    *ENCODING_FAULTS,
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
)


@dataclass(slots=True, kw_only=True)
class Written:
    """What a transaction has done.

    Parameters
    ----------
    decisions, outcomes, feedback
        How many are new.
    dropped
        How many decisions and outcomes were repeated, of an unknown decision, or not to be kept.
    last_seq
        `seq` of the newest event; 0 where there is none.
    receipts, commands
        What to answer to those who hold a future.
    """

    decisions: int = 0
    outcomes: int = 0
    feedback: int = 0
    dropped: int = 0
    last_seq: int = 0
    receipts: list[tuple[QueuedFeedback, FeedbackReceipt | StoreError]] = field(default_factory=list)
    commands: list[tuple[Command, StoreError | None]] = field(default_factory=list)


def write_batch(connection: sqlite3.Connection, items: Sequence[Item]) -> Written:
    """Write `items` and commit.

    An item that cannot be kept is refused alone. The futures are not touched: their holders are told when the caller
    has taken note of the commit.

    Raises
    ------
    sqlite3.Error
        Where the file cannot be written now; nothing of the batch is in it then.
    """
    written = Written()
    connection.execute("BEGIN IMMEDIATE")
    try:
        for facts, awaited in _stretches(items):
            _write_all(connection, [item for item in facts if isinstance(item, DecisionRecord)], written)
            _write_all(connection, [item for item in facts if isinstance(item, OutcomeEvent)], written)
            if awaited is not None:
                _write(connection, awaited, written)
        if written.decisions or written.outcomes or written.feedback:
            connection.execute(_ADD_TOTALS, (written.decisions, written.outcomes, written.feedback))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return written


def _stretches(items: Sequence[Item]) -> Iterator[tuple[list[Fact], Awaited | None]]:
    """Yield decisions and outcomes, as many as may be written in any order of the two kinds, and what comes after them.

    A decision that comes after an outcome of it stays there: that outcome was of an unknown decision.
    """
    facts: list[Fact] = []
    answered: set[str] = set()
    for item in items:
        if isinstance(item, Awaited):
            yield facts, item
            facts, answered = [], set()
            continue
        if isinstance(item, OutcomeEvent):
            answered.add(item.decision_id)
        elif item.decision.decision_id in answered:
            yield facts, None
            facts, answered = [], set()
        facts.append(item)
    yield facts, None


def _write_all(
    connection: sqlite3.Connection, items: Sequence[DecisionRecord] | Sequence[OutcomeEvent], written: Written
) -> None:
    """Write items of one kind, in order: many together, and those among which one cannot be kept one by one."""
    for start in range(0, len(items), _TOGETHER):
        group = items[start : start + _TOGETHER]
        if len(group) < _TOGETHER or not _write_together(connection, group, written):
            for item in group:
                _write(connection, item, written)


def _write_together(
    connection: sqlite3.Connection, group: Sequence[DecisionRecord] | Sequence[OutcomeEvent], written: Written
) -> bool:
    """Write a whole group in one statement; False where that cannot be done, and nothing is written."""
    values: list[object] = []
    try:
        for item in group:
            values += decision_row(item) if isinstance(item, DecisionRecord) else outcome_row(item)
        decisions = isinstance(group[0], DecisionRecord)
        cursor = connection.execute(_INSERT_DECISIONS if decisions else _INSERT_OUTCOMES, values)
    except _ITEM_FAULTS:
        return False
    added = cursor.rowcount
    written.dropped += len(group) - added
    if decisions:
        written.decisions += added
    elif added:
        written.outcomes += added
        written.last_seq = cursor.lastrowid or 0
    return True


def _write(connection: sqlite3.Connection, item: Item, written: Written) -> None:
    try:
        if isinstance(item, DecisionRecord):
            added = connection.execute(_INSERT_DECISION, decision_row(item)).rowcount
            written.decisions += added
            written.dropped += 1 - added
        elif isinstance(item, OutcomeEvent):
            _write_outcome(connection, item, written)
        elif isinstance(item, QueuedFeedback):
            written.receipts.append((item, _write_feedback(connection, item, written)))
        else:
            item.run(connection)
            written.commands.append((item, None))
    except _ITEM_FAULTS as error:
        _refuse(item, error, written)


def _write_outcome(connection: sqlite3.Connection, event: OutcomeEvent, written: Written) -> None:
    cursor = connection.execute(_INSERT_OUTCOME, outcome_row(event))
    if cursor.rowcount:
        written.outcomes += 1
        written.last_seq = cursor.lastrowid or 0
    else:
        written.dropped += 1


def _write_feedback(
    connection: sqlite3.Connection, item: QueuedFeedback, written: Written
) -> FeedbackReceipt | StoreError:
    feedback = item.feedback
    cursor = connection.execute(_INSERT_FEEDBACK, feedback_row(feedback, item.body))
    if cursor.rowcount:
        written.feedback += 1
        written.last_seq = cursor.lastrowid or 0
        return FeedbackReceipt(feedback_id=feedback.feedback_id, duplicate=False)
    known = connection.execute(_FEEDBACK_BODY, (feedback.feedback_id,)).fetchone()
    if known is None:
        return UnknownDecisionError(feedback.decision_id)
    try:
        same = same_judgement(feedback_from_body(known[0]), feedback)
    except StoreError as error:
        return error
    if same:
        return FeedbackReceipt(feedback_id=feedback.feedback_id, duplicate=True)
    return ConflictingEventError(feedback.feedback_id)


def _refuse(item: Item, error: Exception, written: Written) -> None:
    refusal = StoreError(
        f"The store cannot keep a value ({type(error).__name__}: {error}). Correct it and send it again."
    )
    refusal.__cause__ = error
    if isinstance(item, QueuedFeedback):
        written.receipts.append((item, refusal))
    elif isinstance(item, Command):
        written.commands.append((item, refusal))
    else:
        written.dropped += 1
        _LOG.warning("A %s cannot be kept and is dropped: %s", type(item).__name__, type(error).__name__)
