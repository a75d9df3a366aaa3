"""Writes that somebody waits for: changes of the pool, and checkpoints."""

from __future__ import annotations

from mixllm.store.postgres.database import Connection
from mixllm.store.postgres.transaction import NOTIFY, lock_totals
from mixllm.types import LearnedState, PoolChange

__all__ = ["append_pool_change", "mark_state", "save_state"]

_FORGET_STATES = """
DELETE FROM states WHERE quarantined IS NULL
AND number NOT IN (SELECT number FROM states WHERE quarantined IS NULL ORDER BY number DESC LIMIT %s)
AND number NOT IN (
    SELECT max(number) FROM states WHERE quarantined IS NULL
    GROUP BY floor(created_at_s / 86400) ORDER BY max(number) DESC LIMIT %s
)
AND version NOT IN (SELECT version FROM state_changes ORDER BY number DESC LIMIT 1)
"""


def append_pool_change(connection: Connection, *, change: PoolChange, body: str, channel: str) -> None:
    """Keep a change of the pool, placed after the events that are there, and wake everyone who listens."""
    last_seq, last_change = lock_totals(connection)
    connection.execute(
        "INSERT INTO pool_changes (number, after_seq, llm, active, created_at_s, body) VALUES (%s, %s, %s, %s, %s, %s)",
        (last_change + 1, last_seq, change.spec.name, change.active, change.created_at_s, body),
    )
    connection.execute("UPDATE totals SET last_change = %s", (last_change + 1,))
    connection.execute(NOTIFY, (channel,))


def save_state(
    connection: Connection, *, state: LearnedState, keep: int, keep_daily: int, announce: str | None = None
) -> None:
    """Keep a checkpoint, in the place of one of its version, and forget old ones; tell who listens to take it over."""
    connection.execute("LOCK TABLE states IN SHARE ROW EXCLUSIVE MODE")  # Two gateways may save at once.
    connection.execute("DELETE FROM states WHERE version = %s", (state.version,))
    connection.execute(
        "INSERT INTO states (version, position, created_at_s, payload) VALUES (%s, %s, %s, %s)",
        (state.version, state.position, state.created_at_s, state.payload),
    )
    if announce is not None:
        last_seq, last_change = lock_totals(connection)
        connection.execute(
            "INSERT INTO state_changes (number, after_seq, version, created_at_s) VALUES (%s, %s, %s, %s)",
            (last_change + 1, last_seq, state.version, state.created_at_s),
        )
        connection.execute("UPDATE totals SET last_change = %s", (last_change + 1,))
        connection.execute(NOTIFY, (announce,))
    connection.execute(_FORGET_STATES, (keep, keep_daily))


def mark_state(connection: Connection, *, version: int, reason: str | None) -> None:
    """Put a checkpoint into quarantine with a reason, or with None take it out."""
    connection.execute("UPDATE states SET quarantined = %s WHERE version = %s", (reason, version))
